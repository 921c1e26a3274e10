"""Which files of a folder are images, and what they are labelled: our four sets and the public originals' layouts.

::

    manifest.csv            our sets: path, split, label, group (also the two .npz of PneumoniaMNIST beside it)
    manifest.json           an encrypted dataset as `medveil learnable encrypt` writes it
    *.mat                   figshare 1512427 (Cheng): MATLAB 7.3 files with cjdata/{image, label, PID}
    SOB_*.png               BreakHis: class, type, patient and magnification in the file name
    Data_Entry_2017*.csv    NIH ChestX-ray14: Image Index, Finding Labels, Patient ID
    Training/ Testing/      Kaggle trees: split folders of class folders (also train, val, test, valid)
    <class>/                class folders, images anywhere below (Kaggle brain MRI yes/no, COVID-19 PA, restored shares)

Nothing is decoded here. A group is what a split must never cut: a patient or a cluster of near-duplicates.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medveil.errors import InputError, LimitError

MAX_IMAGES = 1_000_000
_MAX_INDEX = 256 << 20
_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
_PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".jp2", ".j2k", ".jls", ".nii"}
_BREAKHIS = re.compile(r"^SOB_([BM])_([A-Z]+)-(\d+-\w+)-(\d+)-(\d+)$")
FIGSHARE_CLASSES = {1: "meningioma", 2: "glioma", 3: "pituitary"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One image that is not read yet: where it is, its name, label, group and split; `kind` says how to read it."""

    path: Path
    name: str
    label: str
    group: str | None = None
    split: str | None = None
    kind: str = "file"  # file, figshare, or row (of an .npz: `row`)
    row: int = 0
    source: str | None = None  # keyed digest of the plain image that an encrypted one was made from


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries of a dataset, the layout that was recognised, and what else it says (of an encrypted set: how)."""

    layout: str
    entries: tuple[Entry, ...]
    facts: dict[str, Any] = field(default_factory=dict)


def recognise(path: Path, *, findings: Sequence[str] = (), label: str = "class") -> Listing:
    """Return what a dataset folder (or .npz) lists, by its layout.

    findings: the classes to take of NIH ChestX-ray14. label: "class", or of BreakHis also "type" (8 tumour types).

    Raises InputError where there is nothing labelled.
    """
    if path.suffix == ".npz" and path.is_file():
        return _arrays([(path, None)])
    if not path.is_dir():
        raise InputError(f"there is no dataset {path}: give a folder of images or an .npz file")
    for reader in (_encrypted, _our_manifest, _npz_pair, _figshare, _breakhis(label), _nih(findings), _trees):
        listing = reader(path)
        if listing is not None:
            if len(listing.entries) > MAX_IMAGES:
                raise LimitError(f"{path} lists more than {MAX_IMAGES} images: split it")
            return listing
    raise InputError(
        f"{path} has no labels: put the images of each class into a folder of its own, or name a dataset that is known"
    )


def _encrypted(folder: Path) -> Listing | None:
    index = folder / "manifest.json"
    if not index.is_file():
        return None
    try:
        if index.stat().st_size > _MAX_INDEX:
            raise LimitError(f"{index} has more than {_MAX_INDEX} bytes: refused before it was read")
        record = json.loads(index.read_text(encoding="utf-8"))
        if record["format"] != "medveil-encrypted-dataset" or record["version"] != 1:
            raise InputError(f"{index} is no encrypted dataset of version 1")
        entries = tuple(
            Entry(
                _inside(folder, str(row["name"])),
                str(row["name"]),
                str(row["label"] or ""),
                row.get("group"),
                _SPLITS.get(str(row.get("split")), row.get("split")),
                source=row.get("source"),
            )
            for row in record["images"]
        )
        facts = {"scheme": str(record["scheme"]), "options": dict(record.get("options") or {})}
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(f"{index} is not a manifest of an encrypted dataset: encrypt the folder again") from e
    return Listing("encrypted", _labelled(entries, index), facts)


def _our_manifest(folder: Path) -> Listing | None:
    index = folder / "manifest.csv"
    if not index.is_file():
        return None
    rows = _csv(index)
    if not rows or "label" not in rows[0]:
        return None
    entries = tuple(
        Entry(_inside(folder, r["path"]), r["path"], r["label"], r.get("group") or None, _SPLITS.get(r["split"]))
        for r in rows
        if r.get("split") in _SPLITS  # chest_xray_nih also lists four full-size copies of test images
    )
    return Listing("manifest", _labelled(entries, index))


def _npz_pair(folder: Path) -> Listing | None:
    found = [(folder / f"{name}.npz", split) for name, split in (("train", "train"), ("test", "test"))]
    found = [(p, s) for p, s in found if p.is_file()]
    return _arrays(found) if found else None


def _arrays(files: Iterable[tuple[Path, str | None]]) -> Listing:
    from medveil.recognition.reading import labels_of_arrays

    entries = []
    for path, split in files:
        for row, label in enumerate(labels_of_arrays(path)):
            name = f"{path.stem}/{row}"
            entries.append(Entry(path, name, label, None, split, "row", row))
    return Listing("arrays", tuple(entries))


def _figshare(folder: Path) -> Listing | None:
    files = sorted(folder.rglob("*.mat"), key=lambda p: (len(p.stem), p.stem))
    files = [p for p in files if p.stem != "cvind"]
    if not files:
        return None
    from medveil.recognition.reading import figshare_label

    entries = []
    for path in files:
        number, patient = figshare_label(path)
        if number not in FIGSHARE_CLASSES:
            raise InputError(f"{path} is labelled {number}: the figshare set has 1, 2 and 3")
        entries.append(Entry(path, path.name, FIGSHARE_CLASSES[number], f"patient{patient}", None, "figshare"))
    return Listing("figshare", tuple(entries))


def _breakhis(label: str) -> Callable[[Path], Listing | None]:
    if label not in ("class", "type"):
        raise InputError(f"labels by {label!r}: choose class, or type for the tumour types of BreakHis")

    def reader(folder: Path) -> Listing | None:
        files = sorted(folder.rglob("SOB_*.png"))
        entries = []
        for path in files:
            match = _BREAKHIS.match(path.stem)
            if match is None:
                raise InputError(f"{path.name} does not name class, type, patient and magnification as BreakHis does")
            kind = "benign" if match[1] == "B" else "malignant"
            name = str(path.relative_to(folder))
            entries.append(Entry(path, name, kind if label == "class" else match[2], match[3]))
        return Listing("breakhis", tuple(entries)) if entries else None

    return reader


def magnification(name: str) -> str | None:
    """Return the magnification (40, 100, 200 or 400) in a BreakHis file name, or None for other files."""
    match = _BREAKHIS.match(Path(name).stem)
    return match[4] if match else None


def _nih(findings: Sequence[str]) -> Callable[[Path], Listing | None]:
    wanted = set(findings or ("No Finding", "Pneumonia"))

    def reader(folder: Path) -> Listing | None:
        tables = sorted(folder.glob("Data_Entry_2017*.csv"))
        if not tables:
            return None
        tests = folder / "test_list.txt"
        held_out = set(tests.read_text(encoding="utf-8").split()) if tests.is_file() else None
        files = {p.name: p for p in folder.rglob("*.png")}
        entries = []
        for row in _csv(tables[0]):
            try:
                name, label, patient = row["Image Index"], row["Finding Labels"], row["Patient ID"]
            except KeyError as e:
                raise InputError(f"{tables[0].name} lacks the column {e.args[0]} of NIH ChestX-ray14") from e
            if label in wanted and name in files:
                split = None if held_out is None else ("test" if name in held_out else "train")
                entries.append(Entry(files[name], name, label, f"patient{patient}", split))
        if not entries:
            raise InputError(f"{folder} has no images of {', '.join(sorted(wanted))}: name other findings")
        return Listing("nih", tuple(entries))

    return reader


def _trees(folder: Path) -> Listing | None:
    children = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    split_folders = [p for p in children if p.name.casefold() in _SPLITS]
    if split_folders:
        entries = tuple(e for p in split_folders for e in _classes(p, folder, _SPLITS[p.name.casefold()]))
        return Listing("split folders", entries) if entries else None
    entries = tuple(_classes(folder, folder, None))
    return Listing("class folders", entries) if entries else None


def _classes(folder: Path, root: Path, split: str | None) -> Iterable[Entry]:
    loose = [p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in _PICTURES]
    if loose:
        raise InputError(
            f"{loose[0]} and {len(loose) - 1} more images have no label: put each into the folder of its class"
        )
    for inner in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if next(inner.rglob("part-*"), None) is not None:
            raise InputError(
                f"{inner} holds shares or parts, not pictures: restore them first, for example with "
                "medveil visual restore, which keeps the folders of the classes"
            )
        for path in sorted(p for p in inner.rglob("*") if p.is_file() and not p.name.startswith(".")):
            if path.suffix.lower() in _PICTURES or not path.suffix:
                yield Entry(path, str(path.relative_to(root)), inner.name, None, split)


def _labelled(entries: tuple[Entry, ...], index: Path) -> tuple[Entry, ...]:
    missing = [e.name for e in entries if not e.label]
    if missing:
        raise InputError(
            f"{index} gives no label for {missing[0]} and {len(missing) - 1} more: label them or leave out"
        )
    if not entries:
        raise InputError(f"{index} lists no images")
    return entries


def _inside(folder: Path, relative: str) -> Path:
    path = folder / relative
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{relative!r} leads out of {folder}: the manifest is not to be trusted")
    return path


def _csv(path: Path) -> list[dict[str, str]]:
    try:
        if path.stat().st_size > _MAX_INDEX:
            raise LimitError(f"{path} has more than {_MAX_INDEX} bytes: refused before it was read")
        with path.open(newline="", encoding="utf-8-sig") as handle:
            return list(csv.DictReader(handle))
    except (UnicodeDecodeError, csv.Error) as e:
        raise InputError(f"{path} is not a CSV table: {e}") from e
