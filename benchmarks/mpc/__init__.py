"""Figures of docs/mpc.md: our engine, and SPU from PyPI on the same network in the same run."""
