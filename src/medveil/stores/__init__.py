"""Places that hold named bytes, written once; they never see an image."""
