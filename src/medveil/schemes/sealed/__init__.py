"""The default scheme: seal a file, split it over n places, and get every byte back from any k of them.

Idea: the whole file (its pixels coded without loss) is padded, encrypted in chunks under a fresh key, and each
chunk's ciphertext is dispersed by Reed-Solomon into n shares. A signed manifest holds a Merkle root for each share,
so a changed, missing, stale, swapped or foreign share is named, and keyed tags of small squares of pixels say where
in the picture. Follows the roles of paper 003 (owner, user, cloud servers), not its construction.

Protects: content, headers, pixels against any n clouds together without a key; integrity against everyone; loss of
n - k parts. Does not protect: the padded size, k, n, time and access pattern; against who holds the owner's key;
in mode "keyless" against any k holders together; availability where more than n - k parts are gone or damaged in
the same chunk. Rollback of everything at once is found by the vault, which remembers the last manifest.

Parts: a part file is the signed manifest, envelopes and one share object (see `format`).
"""

from __future__ import annotations

from medveil.schemes.sealed.body import SealedRecord, SealOptions, SupportsWrite, seal
from medveil.schemes.sealed.format import Manifest, Mode
from medveil.schemes.sealed.opening import Opened, open_shares, read_tags
from medveil.schemes.sealed.records import (
    MANIFEST_MAGIC,
    MAX_RECORD,
    PART_MAGIC,
    Record,
    pack_part,
    pack_record,
    unpack_part,
    unpack_record,
)
from medveil.schemes.sealed.repair import check_share, check_shares, rebuild
from medveil.schemes.sealed.scheme import Sealed
from medveil.schemes.sealed.shares import BytesShare, ShareReader
from medveil.schemes.sealed.source import FileSource, Sealable
from medveil.schemes.sealed.tiles import TileTags, compare_pixels

SCHEME = Sealed

__all__ = [
    "MANIFEST_MAGIC",
    "MAX_RECORD",
    "PART_MAGIC",
    "SCHEME",
    "BytesShare",
    "FileSource",
    "Manifest",
    "Mode",
    "Opened",
    "Record",
    "SealOptions",
    "Sealable",
    "Sealed",
    "SealedRecord",
    "ShareReader",
    "SupportsWrite",
    "TileTags",
    "check_share",
    "check_shares",
    "compare_pixels",
    "open_shares",
    "pack_part",
    "pack_record",
    "read_tags",
    "rebuild",
    "seal",
    "unpack_part",
    "unpack_record",
]
