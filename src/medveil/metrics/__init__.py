"""Measures over arrays: what an image lost, and what an encrypted one gives away."""
