"""Medical images and the files they live in."""
