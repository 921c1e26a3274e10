"""Deep-learning encryption (paper 004): four methods to evaluate, none to recommend; `docs/schemes/deep.md` says why.

`family` lists the schemes; their names are `deep-backprop`, `deep-cyclegan`, `deep-invertible`, `deep-scramble-aae`.
"""
