"""Replicated secret sharing among three semi-honest parties, honest majority."""
