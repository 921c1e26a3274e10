"""Profile `hardened`: the paper's promise kept. Tags for every block, fixed positions, AES-CTR, share MACs, repair.

1. iid, K at random; salt = SHA-256(pixels | shape | region) | iid; HKDF gives all keys (`keys.derive`).
2. tag_i = HMAC(block key, iid | i | pixels of block i)[:16] for every block of the image, in the ROI or not.
3. S-box on the ROI, split into halves, containers with tag, free bits and zeros at fixed positions
   (`container_kernels`); the free bits carry compressed copies of ROI blocks (`copies`).
4. The first 16 bytes of each block's field are HMAC(half key, iid | share | i | container of block i with these bits
   zero)[:16]. So either half of a block is authentic on its own, and a changed byte is blamed on one share and one
   block even where both shares were changed.
5. C = ((P + A) mod 256) XOR B, A and B from AES-256-CTR, a key each for each share.
6. Optionally the pair C1 | C2 | record is split 2 of 2 by XOR with a random pad: each part alone is uniform.
7. A MAC over each share as it lies in the cloud, kept in the secret.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.crypto.prg import Randomness
from medveil.schemes.roi_watermark import container_kernels, copies, keys, regions
from medveil.schemes.roi_watermark.keys import ImageKeys
from medveil.schemes.roi_watermark.secret import ImageSecret, pack_region
from medveil.schemes.roi_watermark.share import Header, Share
from medveil.schemes.roi_watermark.substitution import INVERSE_SBOX, SBOX

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """What restoring found out about every block.

    pixels: (N, 256) words; zero where a block is lost. damaged: (2, N) bool, by share. touched: (N,) something of
    the block was changed, repaired or not. repaired, approximate, lost: (N,) of those whose pixels were.
    """

    pixels: Array
    damaged: Array
    touched: Array
    repaired: Array
    approximate: Array
    lost: Array


def salt_of(pixels: Array, header: Header, region: bytes) -> bytes:
    """Return SHA-256(pixels, little endian, C order | shape | region) | iid, 48 bytes."""
    digest = hashlib.sha256(np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes())
    digest.update(
        struct.pack("<IIIBB", header.frames, header.rows, header.columns, header.samples, header.sample_bytes)
    )
    digest.update(region)
    return digest.digest() + header.iid


def containers_of(planes: regions.Words, roi_mask: regions.Mask, header: Header, k: ImageKeys) -> tuple[Array, Any]:
    """Form both containers before diffusion; return (2, planes, rows, columns) words and the copies' placement."""
    half = 4 * header.sample_bytes
    blocks = regions.to_blocks(regions.pad_planes(planes))
    mask = regions.mask_blocks(roi_mask, planes.shape[0])
    tags = keys.row_macs(k.block_mac, header.iid, blocks)
    placement, fields = copies.lay(blocks, np.any(mask, axis=1), half, signed=header.signed)
    both = np.empty((2, *blocks.shape), blocks.dtype)
    container_kernels.form(blocks, mask, tags, fields[0], fields[1], SBOX, half, both[0], both[1])
    for share in (0, 1):
        own = keys.row_macs(k.half_mac, header.iid + bytes([share + 1]), both[share])
        both[share] |= container_kernels.spread_tags(own, half, high=share == 0)
    shape = (planes.shape[0], regions.padded(header.rows), regions.padded(header.columns))
    return np.stack([regions.from_blocks(both[s], *shape) for s in (0, 1)]), placement


def diffuse(containers: Array, a: bytes, b: bytes) -> Array:
    """Return ((P + A) mod 256) XOR B over the bytes (little endian) of the containers, equation 10 corrected."""
    flat = np.ascontiguousarray(containers, dtype=containers.dtype.newbyteorder("<")).view(np.uint8).reshape(-1)
    mixed = flat + keys.keystream(a, flat.size)
    mixed ^= keys.keystream(b, flat.size)
    return mixed.view(containers.dtype.newbyteorder("<")).reshape(containers.shape)


def undiffuse(containers: Array, a: bytes, b: bytes) -> Array:
    """Undo `diffuse`."""
    flat = np.ascontiguousarray(containers).view(np.uint8).reshape(-1)
    mixed = flat ^ keys.keystream(b, flat.size)
    mixed -= keys.keystream(a, flat.size)
    return mixed.view(containers.dtype).reshape(containers.shape)


def make_shares(
    planes: regions.Words, roi_mask: regions.Mask, secret: ImageSecret, record: bytes, rng: Randomness
) -> tuple[tuple[Share, Share], ImageSecret]:
    """Return both shares and the secret, completed with placement and MACs."""
    k = keys.derive(secret.key, secret.salt)
    header = replace(secret.header, commitment=k.commitment, record_size=len(record))
    both, placement = containers_of(planes, roi_mask, header, k)
    mixed = [diffuse(both[s], k.streams[2 * s], k.streams[2 * s + 1]) for s in (0, 1)]
    headers = [header, replace(header, index=2)]
    if header.split:
        shares = _split(mixed, record, headers, rng)
    else:
        shares = [Share(h, m, record).sealed() for h, m in zip(headers, mixed, strict=True)]
    region = pack_region(secret.roi)
    macs = [mac_of(share, k, region) for share in shares]
    done = replace(
        secret, header=replace(header, commitment=bytes(16)), placement=placement, share_macs=(macs[0], macs[1])
    )
    return (shares[0], shares[1]), done


def mac_of(share: Share, k: ImageKeys, region: bytes) -> bytes:
    """Return the MAC of a share as it lies in the cloud."""
    return keys.share_mac(
        k.share_mac, share.header.index, share.header.iid, region, share.header.pack(), share.body, share.record
    )


def _split(mixed: list[Array], record: bytes, headers: list[Header], rng: Randomness) -> list[Share]:
    pair = np.concatenate(mixed)  # planes of share 1, then of share 2
    sizes = pair.nbytes, len(record)
    pad = np.frombuffer(rng.bytes(sizes[0] + sizes[1]), np.uint8)
    pad_pair = pad[: sizes[0]].view(pair.dtype).reshape(pair.shape)
    masked_record = (np.frombuffer(record, np.uint8) ^ pad[sizes[0] :]).tobytes()
    first = Share(headers[0], pad_pair, pad[sizes[0] :].tobytes())
    return [first.sealed(), Share(headers[1], pair ^ pad_pair, masked_record).sealed()]


def join(first: Share, second: Share) -> tuple[list[Array], list[bytes]]:
    """Return the two mixed containers and the copies of the sealed record, with a split undone."""
    if not first.header.split:
        return [first.containers, second.containers], [first.record, second.record]
    pair = first.containers ^ second.containers
    record = np.frombuffer(first.record, np.uint8) ^ np.frombuffer(second.record, np.uint8)
    half = pair.shape[0] // 2
    return [pair[:half], pair[half:]], [record.tobytes()]


def read_blocks(mixed: list[Array], roi_mask: regions.Mask, secret: ImageSecret, k: ImageKeys) -> Blocks:
    """Check every block, repair what copies allow, blank what cannot be vouched for."""
    h = secret.header
    half, n_planes = 4 * h.sample_bytes, h.frames * h.samples
    both = [
        regions.to_blocks(undiffuse(mixed[s], k.streams[2 * s], k.streams[2 * s + 1]).astype(f"=u{h.sample_bytes}"))
        for s in (0, 1)
    ]
    mask = regions.mask_blocks(roi_mask, n_planes)
    count, size = both[0].shape[0], copies.field_size(half)
    pixels = np.empty_like(both[0])
    tags = np.zeros((2, count, keys.TAG_SIZE), np.uint8)
    fields = np.zeros((2, count, size), np.uint8)
    redundant = np.zeros(count, np.bool_)
    container_kernels.part(
        both[0], both[1], mask, INVERSE_SBOX, half, pixels, tags[0], tags[1], fields[0], fields[1], redundant
    )
    intact = np.zeros((2, count), np.bool_)
    for s in (0, 1):
        bare = both[s] & ~container_kernels.field_bits(half, 128, high=s == 0)
        own = keys.row_macs(k.half_mac, h.iid + bytes([s + 1]), bare)
        intact[s] = (own == fields[s, :, : keys.TAG_SIZE]).all(axis=1)
    expected = keys.row_macs(k.block_mac, h.iid, pixels)
    vouched = [(expected == tags[s]).all(axis=1) for s in (0, 1)]
    sound = intact[0] & intact[1] & vouched[0] & vouched[1] & redundant
    # One authentic half holds the authentic tag: pixels that agree with it were not touched, only marks around them.
    pixels_right = sound | (intact[0] & vouched[0]) | (intact[1] & vouched[1])
    return _repair(pixels, ~intact, ~sound, ~pixels_right, fields, mask, secret, half)


def _repair(
    pixels: Array,
    damaged: Array,
    touched: Array,
    wrong: Array,
    fields: Array,
    mask: Array,
    secret: ImageSecret,
    half: int,
) -> Blocks:
    repaired, approximate, lost = (np.zeros(touched.size, np.bool_) for _ in range(3))
    if wrong.any():
        chosen = secret.placement.copied(np.any(mask, axis=1))
        reader = copies.CopyReader(secret.placement, fields, ~damaged, chosen, half, signed=secret.header.signed)
        for block in np.flatnonzero(wrong):
            copy = reader.copy_of(int(block))
            if copy is None:
                lost[block], pixels[block] = True, 0
            else:
                pixels[block] = copy.pixels
                (approximate if copy.dropped else repaired)[block] = True
    repaired |= touched & ~wrong
    return Blocks(pixels, damaged, touched, repaired, approximate, lost)
