"""Measurements: `python -m benchmarks` runs them; each part writes its results into the documents."""
