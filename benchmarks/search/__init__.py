"""Speed and size of the encrypted index, and what its server can guess: `python -m benchmarks.search`."""
