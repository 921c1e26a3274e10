"""Thin, strict wrappers over kept cryptographic libraries."""
