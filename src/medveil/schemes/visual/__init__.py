"""Visual cryptography with attested shares: n pictures of noise, any k of which show the image when stacked.

Idea: the picture (windowed to 8 bits) is halftoned, each halftone pixel becomes one pixel in each of n shares, and
each share carries a signed statement of what it is, vouched for by a quote of the enclave that dealt it. Source: Zhang
et al., "A Privacy Protection Framework for Medical Image Security without Key Dependency Based on Visual Cryptography
and Trusted Computing", Comput. Intell. Neurosci. 2023 (MPVCNet), with the corrections of docs/schemes/visual.md.

Fewer than k shares say nothing about the image but its dimensions and the length of its file, against any computing
power. Statements and digests show when a share is not what was dealt. Not protected: the dimensions, the fact that an
image was shared, and the image itself from whoever holds k shares, since there is no key. The default provider is a
simulator: it signs, and proves nothing about where.

Part i is share i, a PNG picture of noise (or a DICOM secondary capture), with its proof in the lowest bits or beside
the pixels, and its share of the original file. The secret recognises the owner's own shares; it is no key.
"""

from __future__ import annotations

from medveil.schemes.visual.scheme import Visual

SCHEME = Visual

__all__ = ["SCHEME", "Visual"]
