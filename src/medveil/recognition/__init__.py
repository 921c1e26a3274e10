"""Training and judging networks on plain, encrypted and restored images: data, splits, training, explanation.

Imports nothing heavy; torch, MONAI, scikit-learn and matplotlib (the extra `learn`) are loaded where they are used.
"""
