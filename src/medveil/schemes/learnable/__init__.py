"""Learnable encryption: pictures that look like noise and on which a network can still be trained.

Idea: scramble pixels or blocks so that people see nothing and statistics that a network learns from survive; nothing is
ever decrypted. Source: Huang et al., "Privacy-Preserving Deep Learning With Learnable Image Encryption on Medical
Images", IEEE Access 10, 2022 (scheme `smoothed`, Algorithm 1), and its ancestors and successors, named in each module.

What survives for the network survives for everybody. These schemes hide looks, not identity: the protected picture of
a patient is found again among public candidates without any key (`attacks.linkage`), and block means come back by
averaging. docs/schemes/learnable.md has the measurements. Use them for experiments, not to protect patients.

One part: a PNG picture with the bits of the original (16-bit PNG beyond 8). The secret is a record that recognises the
part; it holds no key, since nothing is decrypted.
"""
