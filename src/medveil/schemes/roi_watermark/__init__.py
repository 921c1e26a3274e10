"""ROI crypto-watermark: one image becomes two shares for two clouds; lossless; tampering located to the 16x16 block.

Idea: the region of interest passes an S-box, every sample is cut into its high and low half, each half plane gets a
reversible watermark of block tags, is diffused with two keystreams and goes to another cloud. Source: Zhou et al.,
"Verifiable Privacy Preservation Scheme for Outsourcing Medical Image to Cloud through ROI Based Crypto-Watermarking",
doi 10.20944/preprints202307.1435.v2, equations 1-10, with the corrections of docs/schemes/roi-watermark.md.

Profile ``hardened`` (default) protects pixels and file against reading by either cloud or both without the secret, and
finds every change of either share, in or outside the ROI. It does not hide the size of the image, and one cloud can
always withhold its share. Profile ``paper`` reproduces the paper and protects against nobody: its keys are unkeyed
hashes of the ROI (guess the ROI, have the key), images of one ROI share their keystream, and changes outside the ROI
go unseen.

Part 1 holds the high halves, part 2 the low halves (with ``split``: a random pad, and both XOR the pad). The secret
holds K, salt, iid, region, shape, both shares' MACs, where repair copies lie, and the version.
"""

from __future__ import annotations

from medveil.schemes.roi_watermark.scheme import RoiWatermark

SCHEME = RoiWatermark

__all__ = ["SCHEME", "RoiWatermark"]
