"""One row a scheme, one column a promise; every cell is judged from the records alone and names its evidence.

A cell is a measured pass or fail. Where the scheme claims what the cell shows to be false, the cell says so
(`agrees` is False) and `false_claims` lists it. A cell that could not be measured says why, and counts as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from medveil.evaluation.results import Record, Results


class Verdict(StrEnum):
    """What a cell says."""

    PASS = "pass"  # noqa: S105  # not a password
    FAIL = "fail"
    MISSING = "not measured"


@dataclass(frozen=True, slots=True)
class Cell:
    """One judged promise.

    text: a few words or a figure. claimed: what the scheme says of itself, None where it says nothing. evidence: keys
    of the records that it rests on. why: a sentence.
    """

    verdict: Verdict
    text: str
    why: str = ""
    claimed: bool | None = None
    evidence: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether nothing that the scheme promises was seen to be false."""
        return not (self.claimed and self.verdict is Verdict.FAIL)


@dataclass(frozen=True, slots=True)
class Row:
    """One scheme's cells by column."""

    subject: str
    secure: bool
    notes: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class Column:
    """One promise. asks: what is asked, for the head of a table's column. judge: a row's results to its cell."""

    name: str
    asks: str
    judge: Callable[[Judging], Cell]


@dataclass(frozen=True, slots=True)
class Judging:
    """The records of one row, its claim, and the plan's criteria."""

    results: Results
    subject: str
    claim: Mapping[str, Any]

    def of(self, measure: str) -> list[Record]:
        """Return the row's records of a measure."""
        return self.results.of(self.subject, measure)

    def value(self, record: Record, name: str) -> float | None:
        """Return a figure without its interval."""
        return number(record.values.get(name))

    def criterion(self, name: str) -> float:
        """Return one of the plan's criteria."""
        return float(self.results.plan["criteria"][name])

    def says(self, name: str) -> bool:
        """Return what the scheme claims."""
        return bool(self.claim[name])


def number(value: Any) -> float | None:
    """Return a figure as a number: of an interval its value, None where there is none."""
    found = value.get("value") if isinstance(value, Mapping) else value
    return None if found is None or isinstance(found, str) else float(found)


def rate(value: float) -> str:
    """Return megabytes a second as a person reads them."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _missing(records: list[Record], what: str) -> Cell:
    notes = [r.note for r in records if r.note]
    return Cell(Verdict.MISSING, "-", notes[0] if notes else f"{what} was not measured", None, _keys(records))


def _keys(records: list[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(r.key for r in records))


def _done(records: list[Record]) -> list[Record]:
    return [r for r in records if r.status == "done"]


def _verdict(passes: bool) -> Verdict:  # read where it is called
    return Verdict.PASS if passes else Verdict.FAIL


def _lossless(j: Judging) -> Cell:
    done = _done(j.of("reconstruction"))
    if not done:
        return _missing(j.of("reconstruction"), "reconstruction")
    claimed = j.says("lossless")
    if any(r.values["one_way"] for r in done):
        return Cell(Verdict.FAIL, "one-way", "nothing is ever restored, by design", claimed, _keys(done))
    exact = min(j.value(r, "exact_images") or 0.0 for r in done)
    deep = [r.values.get("exact_16_bit") for r in done]
    passes = exact == 1 and False not in deep
    worst = min(j.value(r, "psnr") or 0.0 for r in done)
    text = "exact" if passes else f"{worst:.1f} dB" if exact < 1 else "not at 16 bit"
    images = sum(r.values["images"] for r in done)
    why = f"{exact:.0%} of {images} images come back exactly"
    return Cell(_verdict(passes), text, why + (", 16 bit too" if deep[0] is True else ""), claimed, _keys(done))


def _verifies(j: Judging) -> Cell:
    done = _done(j.of("tampering"))
    if not done:
        return _missing(j.of("tampering"), "tampering")
    claimed, r = j.says("authenticated"), done[0]
    if r.values.get("one_way"):
        return Cell(Verdict.FAIL, "no", r.note, claimed, _keys(done))
    found = r.values["noticed"]
    passes = r.values["silent"] == 0
    seen = found["n"] - r.values["silent"]
    why = f"{seen} of {found['n']} single changes noticed, so at least {found['low']:.1%} of all"
    unseen = number(r.values.get("adversary")) or 0.0
    if unseen:
        why += f"; but {unseen:.0%} of changes outside the region go unseen when unkeyed checksums are made to fit"
        return Cell(Verdict.FAIL, f"{1 - unseen:.0%}", why, claimed, _keys(done))
    if r.values.get("lie_unnoticed"):
        return Cell(Verdict.FAIL, "not a liar", why + "; but one lying server is not noticed", claimed, _keys(done))
    return Cell(_verdict(passes), f"{found['value']:.0%}", why, claimed, _keys(done))


def _localises(j: Judging) -> Cell:
    done = _done(j.of("tampering"))
    if not done:
        return _missing(j.of("tampering"), "tampering")
    claimed, r = j.says("localises"), done[0]
    found = r.values.get("localised")
    if not isinstance(found, Mapping):
        return Cell(Verdict.FAIL, "no", r.note or "no map of what was touched is given", claimed, _keys(done))
    passes = found["value"] == 1
    why = f"in {found['value']:.0%} of {found['n']} maps that mark damage, less than half of the picture is marked"
    return Cell(_verdict(passes), f"{r.values['touched_share']:.1%}" if passes else "no", why, claimed, _keys(done))


def _repairs(j: Judging) -> Cell:
    done = _done(j.of("tampering"))
    if not done:
        return _missing(j.of("tampering"), "tampering")
    claimed, r = j.says("repairs"), done[0]
    if r.values.get("one_way"):
        return Cell(Verdict.FAIL, "no", r.note, claimed, _keys(done))
    found, spare = r.values["parts_repaired"], r.values["spare_parts"]
    if found is not None:
        why = f"{spare} whole parts damaged, {found['n']} choices of them: {found['value']:.0%} exact"
        return Cell(_verdict(found["value"] == 1), f"{spare} parts", why, claimed, _keys(done))
    one = r.values["one_byte_repaired"]
    passes = one["value"] == 1
    why = f"no part to spare; after one changed byte {one['value']:.0%} of {one['n']} come back exactly"
    return Cell(_verdict(passes), "one byte" if passes else f"{one['value']:.0%}", why, claimed, _keys(done))


def _share(j: Judging) -> Cell:
    done = _done(j.of("secrecy"))
    if not done:
        return _missing(j.of("secrecy"), "what one part shows")
    claimed = j.says("private_below_threshold")
    passes = all(r.values["shows_nothing"] for r in done)
    reasons = {
        "looks like the original": any(r.values["looks_alike"] for r in done),
        "bytes are uneven": any((j.value(r, "uneven_parts") or 0) > 0 for r in done),
        "protected twice, it repeats": any((j.value(r, "same_bytes_when_protected_twice") or 0) >= 0.05 for r in done),
        "holds pieces in clear": any(r.values["pictures_with_pieces_in_clear"] for r in done),
    }
    seen = [reason for reason, holds in reasons.items() if holds]
    text = "nothing" if passes else seen[0].split()[0] if seen else "something"
    words = {"looks": "looks alike", "bytes": "uneven", "protected": "repeats", "holds": "in clear"}
    why = "nothing seen in any part" if passes else "a part alone: " + ", ".join(seen)
    return Cell(_verdict(passes), words.get(text, text), why, claimed, _keys(done))


def _attacks(j: Judging, wanted: str) -> list[Record]:
    """Return the records of the attacks that take known pairs ("known"), that look through a gallery ("gallery"), or
    that have pictures of their choice encrypted ("oracle").
    """
    from medveil.attacks import registry

    found = []
    for r in j.of("attacks"):
        if r.detail in registry.names() and wanted in registry.load(r.detail).needs:
            found.append(r)
    return found


def _broken_by(records: list[Record]) -> list[Record]:
    return [r for r in records if r.values.get("broken")]


def _plaintext(j: Judging) -> Cell:
    records = _attacks(j, "known")
    done = [r for r in _done(records) if r.values.get("broken") is not None]
    if not done:
        return _missing(records, "the attack with known plaintext")
    broken = _broken_by(done)
    chosen = _broken_by(_done(_attacks(j, "oracle")))
    if broken:
        strongest = max(broken, key=_above_chance)
        return Cell(Verdict.FAIL, "broken", strongest.note, j.says("secure"), _keys([strongest, *done]))
    why = f"{len(done)} attacks with known pairs got nothing"
    if not chosen:
        return Cell(Verdict.PASS, "survives", why, j.says("secure"), _keys(done))
    # known pairs are the column; who promises security promises it against chosen ones as well
    why += f"; but where the adversary chooses pictures, {chosen[0].note}"
    return Cell(_verdict(not j.says("secure")), "known only", why, j.says("secure"), _keys([*chosen, *done]))


def _above_chance(record: Record) -> float:
    """Return how far an attack's first score lies above its chance level."""
    scores = [v for v in record.values.values() if isinstance(v, Mapping) and v.get("chance") is not None]
    return float(scores[0]["value"]) - float(scores[0]["chance"]) if scores else 0.0


def _unlinkable(j: Judging) -> Cell:
    records = _attacks(j, "gallery")
    done = [r for r in _done(records) if r.values.get("broken") is not None]
    if not done:
        return _missing(records, "linkage")
    broken = _broken_by(done)
    tops = [(j.value(r, "top1"), r) for r in done if "top1" in r.values]
    best = max((t for t, _ in tops if t is not None), default=None)
    text = ("unlinked" if not broken else "linked") if best is None else f"top-1 {best:.2f}"
    why = broken[0].note if broken else f"{len(done)} searches no better than chance"
    return Cell(_verdict(not broken), text, why, j.says("secure"), _keys(done))


def _learnable(j: Judging) -> Cell:
    records = j.of("utility")
    done = _done(records)
    if not done:
        return _missing(records, "learning")
    best = max(done, key=lambda r: (j.value(r, "f1_macro") or 0.0) - float(r.values["f1_macro"]["chance"] or 0.0))
    f1 = best.values["f1_macro"]
    plain = next((p for p in _done(j.results.of("plain", "utility")) if p.corpus == best.corpus), None)
    reference = j.value(best, "plain_f1_macro") or (None if plain is None else j.value(plain, "f1_macro"))
    beside = "" if reference is None else f", plain pictures {reference:.2f}"
    why = (
        f"{best.corpus}: macro F1 {f1['value']:.2f} ({f1['low']:.2f} to {f1['high']:.2f}){beside}, shuffled "
        f"{f1['chance']:.2f}; {best.note}"
    )
    return Cell(_verdict(f1["value"] > f1["chance"]), f"F1 {f1['value']:.2f}", why, j.says("learnable"), _keys(done))


def _speed(j: Judging) -> Cell:
    done = _done(j.of("speed"))
    if not done:
        return _missing(j.of("speed"), "speed")
    r = done[0]
    forth = j.value(r, "protect_mb_per_s") or 0.0
    back = j.value(r, "restore_mb_per_s")
    slower = min(forth, back or forth)
    why = f"protect {rate(forth)} MB/s" + ("" if back is None else f", restore {rate(back)} MB/s") + f", {r.note}"
    return Cell(_verdict(slower >= j.criterion("speed")), rate(slower), why, None, _keys(done))


def _stored(j: Judging) -> Cell:
    done = _done(j.of("speed")) + _done(j.of("reconstruction"))
    ratios = [(j.value(r, "stored_over_original"), r) for r in done if "stored_over_original" in r.values]
    if not ratios:
        return _missing(j.of("reconstruction"), "size")
    ratio, r = ratios[0]
    passes = ratio is not None and ratio <= j.criterion("stored")
    why = f"{ratio:.2f} bytes stored in all places for each byte of pixels" + (f", {r.note}" if r.note else "")
    return Cell(_verdict(passes), f"{ratio:.2f}", why, None, _keys([r]))


def _portable(j: Judging) -> Cell:
    done = [r for r in _done(j.of("portability")) if r.values.get("portable") is not None]
    if not done:
        return _missing(j.of("portability"), "the same elsewhere")
    batched = [r for r in _done(j.of("keys")) if r.values.get("changed_by_batch_size") is not None]
    elsewhere = all(r.values["portable"] for r in done)
    changed = max((float(r.values["changed_by_batch_size"]) for r in batched), default=0.0)
    why = "other process, threads and processor: " + ("the same pixels" if elsewhere else "other pixels")
    if batched:
        why += f"; other batch sizes change {changed:.4%} of pixels"
    passes = elsewhere and not changed
    return Cell(_verdict(passes), "same" if passes else "differs", why, None, _keys([*done, *batched]))


COLUMNS: Final = (
    Column("lossless", "every pixel comes back", _lossless),
    Column("verifies", "no change goes unnoticed", _verifies),
    Column("localises", "damage is shown in the picture", _localises),
    Column("repairs", "damage is undone", _repairs),
    Column("one part", "shows nothing alone", _share),
    Column("known plaintext", "survives known pairs", _plaintext),
    Column("unlinkable", "not found in a gallery", _unlinkable),
    Column("learnable", "a network learns from it", _learnable),
    Column("MB/s", "slower of protect and restore", _speed),
    Column("stored/original", "bytes in all places", _stored),
    Column("portable", "same on other machines", _portable),
)


def build(results: Results) -> list[Row]:
    """Judge every row."""
    rows = []
    for subject, claim in results.claims.items():
        judging = Judging(results, subject, claim)
        cells = {column.name: column.judge(judging) for column in COLUMNS}
        rows.append(Row(subject, bool(claim["secure"]), str(claim["notes"]), cells))
    return rows


def false_claims(rows: list[Row]) -> list[str]:
    """Return a sentence for each promise that was seen to be false."""
    return [
        f"{row.subject} claims {name} and fails it: {cell.why}"
        for row in rows
        for name, cell in row.cells.items()
        if not cell.agrees
    ]


def missing(rows: list[Row]) -> list[str]:
    """Return a sentence for each cell that was not measured."""
    return [
        f"{row.subject}, {name}: {cell.why}"
        for row in rows
        for name, cell in row.cells.items()
        if cell.verdict is Verdict.MISSING
    ]


def as_markdown(rows: list[Row], link: str = "") -> str:
    """Return the scorecard as a Markdown table; link: the report's address, to whose anchors cells lead."""
    marks = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.MISSING: "?"}

    def shown(cell: Cell) -> str:
        said = f"{marks[cell.verdict]} {cell.text}" if cell.text not in ("-", "") else marks[cell.verdict]
        return f"**{said}** (claimed otherwise)" if not cell.agrees else said

    head = ["scheme", *(column.name for column in COLUMNS)]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---|" * len(COLUMNS)]
    for row in rows:
        name = f"[{row.subject}]({link})" if link else row.subject
        lines.append("| " + " | ".join([name, *(shown(row.cells[c.name]) for c in COLUMNS)]) + " |")
    return "\n".join(lines) + "\n"
