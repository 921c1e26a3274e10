"""Publishes an evaluation: docs/results and the scorecard of the README."""
