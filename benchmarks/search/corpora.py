"""Documents for the search benchmark: a made-up hospital of any size, and real text that every checkout has.

`hospital` has no real patient in it: descriptions are put together from body parts, procedures and findings of DICOM's
own code dictionary with Zipf frequencies, names from a list with Zipf frequencies, dates over eight years. `docstrings`
is real English prose: the documentation of every public function of numpy, scipy and scikit-learn, one document each.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
from pydicom.sr._concepts_dict import concepts

from medveil.vault.search.attributes import Described
from medveil.vault.search.building import Entry
from medveil.vault.search.terms import stems

FAMILIES = 4000
GIVEN = 800


def hospital(count: int, seed: int = 1) -> Iterator[Entry]:
    """Yield studies of one file each."""
    rng = np.random.default_rng(seed)
    vocabulary = _code_words()
    weights = 1.0 / np.arange(1, len(vocabulary) + 1) ** 0.9
    weights /= weights.sum()
    families = 1.0 / np.arange(1, FAMILIES + 1) ** 0.8
    given = 1.0 / np.arange(1, GIVEN + 1) ** 0.8
    days = rng.integers(0, 8 * 365, count)
    patients = rng.integers(0, max(1, count // 3), count)
    for number in range(count):
        words = rng.choice(len(vocabulary), size=int(rng.integers(3, 8)), p=weights)
        text = " ".join(vocabulary[one] for one in words)
        if number % 3 == 0:  # a third of all studies, 20,000 of 60,000
            text += " thoraxoverview"
        person = patients[number]
        family = int(np.random.default_rng(person).choice(FAMILIES, p=families / families.sum()))
        first = int(np.random.default_rng(person + 1).choice(GIVEN, p=given / given.sum()))
        uid = f"1.2.826.0.1.{seed}.{number}"
        study = {
            "StudyInstanceUID": uid,
            "PatientID": f"{person:08}",
            "PatientName": f"Family{_letters(family)}^Given{_letters(first)}",
            "AccessionNumber": f"A{number:09}",
            "StudyDate": (date(2017, 1, 1) + timedelta(int(days[number]))).strftime("%Y%m%d"),
            "StudyDescription": text,
        }
        instance = {
            "Modality": ("CT", "MR", "US", "DX")[number % 4],
            "SeriesInstanceUID": f"{uid}.1",
            "SOPInstanceUID": f"{uid}.1.1",
        }
        yield Entry(number.to_bytes(16, "big"), 1, 500_000, Described(dict(study), dict(instance), text))


def _letters(number: int) -> str:
    out = ""
    while True:
        number, rest = divmod(number, 26)
        out += chr(ord("a") + rest)
        if not number:
            return out


def _code_words() -> list[str]:
    """Return the words of DICOM's code meanings, most frequent first."""
    found: Counter[str] = Counter()
    for codes in concepts.values():
        for meanings in codes.values():
            for meaning, _ in meanings.values():
                found.update(word for word in re.findall(r"[a-z]{4,}", meaning.lower()))
    return [word for word, _ in found.most_common()]


def docstrings() -> list[set[str]]:
    """Return the stems of each document: docstrings of at least thirty words."""
    seen: dict[str, set[str]] = {}
    for package in ("numpy", "scipy", "sklearn"):
        for module in _modules(package):
            for name, thing in inspect.getmembers(module):
                text = getattr(thing, "__doc__", None)
                public = not name.startswith("_") and (inspect.isroutine(thing) or inspect.isclass(thing))
                if public and isinstance(text, str) and len(text.split()) >= 30 and text not in seen:
                    seen[text] = {one for one in stems(text, "english") if not one.isdigit()}
    return list(seen.values())


def _modules(package: str) -> Iterator[object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = importlib.import_module(package)
        yield root
        for found in pkgutil.iter_modules(root.__path__):
            if found.ispkg and not found.name.startswith(("_", "test", "f2py", "conftest")):
                try:
                    yield importlib.import_module(f"{package}.{found.name}")
                except Exception:  # noqa: BLE001, S112 - a module that does not import has no docstrings
                    continue
