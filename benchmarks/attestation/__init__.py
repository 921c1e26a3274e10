"""What attestation costs. `python -m benchmarks.attestation` prints the tables; `--flips` adds every bit flip."""
