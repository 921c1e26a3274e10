"""Deep-learning encryption: trains the public sample keys, and fills the tables of docs/schemes/deep.md."""
