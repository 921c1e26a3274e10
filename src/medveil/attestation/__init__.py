"""Who made a share, and where: statements, quotes, policy, verification, providers.

Start at `medveil.attestation.sets.verify_set`; what it proves and what it does not is in docs/attestation.md.
"""
