"""Networks on values nobody sees: layers with backward passes, losses, optimisers, from a plain torch module."""
