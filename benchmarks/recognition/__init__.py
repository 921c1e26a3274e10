"""The papers' recognition experiments, their pictures, and what an epoch and an encryption cost."""
