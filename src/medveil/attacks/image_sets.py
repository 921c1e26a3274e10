"""Pictures from folders for attacks: a sample of one's own images, or an encrypted dataset beside public pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.attacks.base import Material
from medveil.attacks.material import encrypter
from medveil.attacks.views import to_8_bit
from medveil.errors import InputError, LimitError, MedveilError, UnsupportedError
from medveil.imaging.reader import read
from medveil.recognition.encryption import FORMAT, MANIFEST, VERSION, names_beside, read_names
from medveil.recognition.encryption_sources import Form, Uniform, entries_of, frames_of
from medveil.recognition.layouts import Entry

Array = npt.NDArray[Any]
_MAX_MANIFEST = 256 << 20


@dataclass(frozen=True, slots=True)
class Collection:
    """Pictures of one size, uint8, with names, labels and groups ("" where unknown), and what was left out."""

    pictures: list[Array]
    names: list[str]
    labels: list[str]
    groups: list[str]
    notes: tuple[str, ...] = ()

    def take(self, chosen: Sequence[int]) -> Collection:
        """Return some of them, in that order."""
        return Collection(
            [self.pictures[i] for i in chosen],
            [self.names[i] for i in chosen],
            [self.labels[i] for i in chosen],
            [self.groups[i] for i in chosen],
            self.notes,
        )


def gather_pictures(
    source: Path, form: Form, *, most: int | None = None, seed: int = 0, split: str | None = None, broken: str = "skip"
) -> Collection:
    """Read a folder or series as pictures, at most `most` of its files, drawn by `seed`; whole groups stay together.

    Deeper samples give their top 8 bits. broken: skip files that cannot be read (noted), or refuse.
    Raises InputError where pictures are not alike, with the option that makes them so, or where none is left.
    """
    entries = [e for e in entries_of(source) if split is None or e.split == split]
    if most is not None and len(entries) > most:
        entries = _drawn(entries, most, seed)
    uniform, notes = Uniform(form), []
    found = Collection([], [], [], [])
    for entry in entries:
        try:
            frames = list(frames_of(entry, form))
        except UnsupportedError:
            raise
        except MedveilError as error:
            if broken == "refuse":
                raise InputError(
                    f"{entry.name} cannot be read ({error}): take it out, or pass --broken skip"
                ) from error
            notes.append(f"left out {entry.name}: {error}")
            continue
        for frame in frames:
            uniform.check(frame)
            found.pictures.append(to_8_bit(frame.pixels, frame.bits))
            found.names.append(frame.name)
            found.labels.append(entry.label)
            found.groups.append(entry.group or "")
    if not found.pictures:
        raise InputError(f"{source} holds no picture that can be read")
    return Collection(found.pictures, found.names, found.labels, found.groups, tuple(notes))


def _drawn(entries: list[Entry], most: int, seed: int) -> list[Entry]:
    """Return at most `most` entries of whole groups in random order, then in their old order."""
    rng = np.random.default_rng(seed)
    groups: dict[str, list[int]] = {}
    for i, entry in enumerate(entries):
        groups.setdefault(entry.group or f"={i}", []).append(i)
    names = sorted(groups)
    chosen: list[int] = []
    for at in rng.permutation(len(names)):
        if len(chosen) + len(groups[names[int(at)]]) <= most:
            chosen += groups[names[int(at)]]
    return [entries[i] for i in sorted(chosen)]


def encrypted_material(
    encrypted: Path, gallery: Collection, truth: Path | None, *, known: int = 0, public: Sequence[Array] = ()
) -> Material:
    """Return an encrypted dataset and a gallery as material: what the cloud has, scored by who is who.

    truth: the table of names that encrypting wrote (`OUT.names.csv`); without one, the file names must have been
    kept. known: the first so many pairs are known to the attacker and taken out of what is attacked.
    Raises InputError where no encrypted picture can be told to be one of the gallery.
    """
    scheme, options, bits, names = _manifest(encrypted)
    where = {name: i for i, name in enumerate(gallery.names)} | {_stem(n): i for i, n in enumerate(gallery.names)}
    who = read_names(truth if truth is not None else names_beside(encrypted))
    material = Material(scheme, options, gallery=gallery.pictures, public=list(public))
    if all(gallery.groups):
        material.gallery_groups = gallery.groups
    for name in names:
        source = who.get(name, name)
        at = where.get(source, where.get(_stem(source), -1))
        if at < 0:
            continue
        picture = to_8_bit(read(encrypted / name).pixels[0], bits)
        if len(material.known) < known:
            material.known.append((gallery.pictures[at], picture))
            continue
        material.originals.append(gallery.pictures[at])
        material.protected.append(picture)
        material.gallery_index.append(at)
        if gallery.groups[at]:
            material.groups.append(gallery.groups[at])
    if not material.protected:
        raise InputError(
            f"no picture of {encrypted} is known to be one of the gallery: give the table of names with --truth, or a "
            "gallery that holds the originals"
        )
    if len(material.groups) != len(material.protected):
        material.groups = []
    material.encrypt_public = encrypter(scheme, options)
    return material


def _manifest(folder: Path) -> tuple[str, dict[str, Any], int, list[str]]:
    """Return scheme, options, significant bits and file names of an encrypted dataset, labelled or not.

    Raises InputError where it is none, LimitError for a manifest of more than 256 MiB.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MAX_MANIFEST:
            raise LimitError(f"{path} has more than {_MAX_MANIFEST} bytes: refused before it was read")
        record = json.loads(path.read_text(encoding="utf-8"))
        names = [str(row["name"]) for row in record["images"]]
        bits = int(record.get("bits", 8))
        found = str(record["scheme"]), dict(record.get("options") or {}), bits, names
        right = (record["format"], record["version"]) == (FORMAT, VERSION) and 1 <= bits <= 16
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        right = False
    if not right:
        raise InputError(
            f"{folder} is no encrypted dataset of version {VERSION}: make one with medveil learnable encrypt"
        )
    root = folder.resolve()
    if not all((folder / name).resolve().is_relative_to(root) for name in names):
        raise InputError(f"{path} names files outside of {folder}: it is not to be trusted")
    return found


def _stem(name: str) -> str:
    return Path(name).name.split(".", 1)[0]
