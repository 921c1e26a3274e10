"""Where evidence comes from: one file a provider; `registry` finds them."""
