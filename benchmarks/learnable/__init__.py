"""What the learnable schemes cost and what they give away, measured on real images."""
