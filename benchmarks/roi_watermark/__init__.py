"""Paper 003's evaluation on real images, for both profiles. `python -m benchmarks.roi_watermark`."""
