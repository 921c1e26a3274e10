"""`medveil attack` and `medveil leakage`: what a scheme gives away, with chance levels, intervals and pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medveil.cli import terminal
from medveil.cli.files import Force, parse_option
from medveil.cli.keys import Json
from medveil.errors import OutputExistsError, UsageError

if TYPE_CHECKING:
    from medveil.attacks.base import Material
    from medveil.attacks.image_sets import Collection
    from medveil.attacks.report import Page

Scheme = Annotated[str, typer.Option("--scheme", help="A scheme; learnable ones also without learnable-.")]
Block = Annotated[int | None, typer.Option("--block", help="The scheme's option block: side of a block in pixels.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Any other option of the scheme.")
]
Mode = Annotated[str, typer.Option("--mode", help="keep, grey (one channel) or rgb (three).")]
Size = Annotated[int | None, typer.Option("--size", help="Resize to this many rows and columns first.")]
Window = Annotated[bool, typer.Option("--window", help="Show deep or signed pixels in 8 bits first.")]
Broken = Annotated[str, typer.Option("--broken", help="Files that cannot be read: skip (and say so) or refuse.")]
Seed = Annotated[int, typer.Option("--seed", help="Of sampling, training and intervals; keys are always fresh.")]


def attack(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Attacks; none lists them.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The folder for the report.")] = None,
    encrypted: Annotated[
        Path | None, typer.Option("--encrypted", help="An encrypted dataset, as medveil learnable encrypt writes it.")
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option("--gallery", help="Pictures among which the encrypted ones are looked for.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="Who is who, to score with; by default DATASET.names.csv.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Instead of --encrypted: pictures to encrypt here, with --scheme.")
    ] = None,
    scheme: Scheme = "smoothed",
    block: Block = None,
    option: Options = None,
    public: Annotated[
        Path | None, typer.Option("--public", help="Pictures to learn from; by default the gallery's others.")
    ] = None,
    known: Annotated[int, typer.Option("--known", min=0, help="How many pairs the attacker knows.")] = 1,
    again: Annotated[int, typer.Option("--again", min=0, help="With --images: further encryptions of each image.")] = 0,
    tune: Annotated[
        list[str] | None,
        typer.Option("--tune", metavar="NAME=VALUE", help="An option of the attack, as steps=20000; of one attack."),
    ] = None,
    sample: Annotated[int | None, typer.Option("--sample", min=2, help="Read at most this many images.")] = None,
    mode: Mode = "keep",
    size: Size = None,
    window: Window = False,
    broken: Broken = "skip",
    split: Annotated[str | None, typer.Option("--split", help="Take this split of the images or gallery.")] = None,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run attacks as an adversary who knows the algorithm and no key, and write a report with pictures."""
    from medveil.attacks import registry

    if not names:
        _list(as_json=as_json)
        return
    chosen = [registry.load(name).name for name in names]
    if out is None:
        raise UsageError("name the folder of the report with --out")
    if out.exists() and not force:
        raise OutputExistsError(f"{out} exists already: choose another place or pass --force")
    tuned = _tuned(chosen, tune or [])
    form = _form(mode, size, window=window)
    with terminal.progress("reading", quiet=as_json, unit="") as tick:
        if images is not None:
            if encrypted is not None or gallery is not None:
                raise UsageError("give --images, or --encrypted with --gallery, not both")
            found = _pictures(images, form, sample, seed, split, broken)
            others = None if public is None else _pictures(public, form, None, seed, None, broken)
            full, options = _scheme(scheme, block, option)
            material = _encrypted_here(full, options, found, others, known, again, tick)
        else:
            if encrypted is None or gallery is None:
                raise UsageError("give --encrypted DIR with --gallery DIR, or --images DIR with --scheme")
            found = _pictures(gallery, form, sample, seed, split, broken)
            others = None if public is None else _pictures(public, form, None, seed, None, broken)
            material = _given(encrypted, found, truth, others, known)
    notes = found.notes if others is None else found.notes + others.notes
    page = _attacked(chosen, material, seed, tuned, notes, quiet=as_json)
    _finish(page, out, force=force, as_json=as_json)


def leakage(
    images: Annotated[Path, typer.Argument(metavar="DIR", help="Your own images; they stay on this machine.")],
    scheme: Scheme = "smoothed",
    block: Block = None,
    option: Options = None,
    out: Annotated[Path, typer.Option("--out", help="The folder for the report.")] = Path("leakage"),
    sample: Annotated[int, typer.Option("--sample", min=2, help="How many images are attacked.")] = 60,
    most: Annotated[int, typer.Option("--most", min=2, help="How many images are read, as candidates.")] = 480,
    learned: Annotated[bool, typer.Option("--learned", help="Also train a network to undo it (minutes).")] = False,
    utility: Annotated[
        bool, typer.Option("--utility/--no-utility", help="Where labels are there, also measure what is learned.")
    ] = True,
    mode: Mode = "keep",
    size: Size = None,
    window: Window = False,
    broken: Broken = "skip",
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Say what a scheme would leak of your images before you upload them: attacks on a sample, in plain words."""
    from medveil.attacks.leakage import Inquiry
    from medveil.attacks.leakage import leakage as report

    if out.exists() and not force:
        raise OutputExistsError(f"{out} exists already: choose another place with --out, or pass --force")
    full, options = _scheme(scheme, block, option)
    found = _pictures(images, _form(mode, size, window=window), most, seed, None, broken)
    measured = None
    with terminal.progress("attacking", quiet=as_json, unit="") as tick:
        if utility and _learnable(full) and len({label for label in found.labels if label}) > 1:
            from medveil.attacks.usefulness import usefulness

            measured = usefulness(found, full, options, seed=seed, progress=tick)
        inquiry = Inquiry(full, options, sample, learned, seed)
        page = report(inquiry, found, utility=measured, tick=lambda _name, done, total: tick(done, total))
    _finish(page, out, force=force, as_json=as_json)


def _list(*, as_json: bool) -> None:
    from medveil.attacks import registry

    known = {name: registry.load(name) for name in registry.names()}

    def text() -> None:
        for name, cls in known.items():
            terminal.out.print(f"{name:24} {cls.title}; needs {', '.join(sorted(cls.needs))}")

    rows = [{"name": n, "title": c.title, "needs": sorted(c.needs)} for n, c in known.items()]
    terminal.emit({"ok": True, "attacks": rows}, as_json=as_json, text=text)


def _form(mode: str, size: int | None, *, window: bool) -> Any:
    from medveil.recognition.encryption_sources import Form

    if mode not in ("keep", "grey", "rgb"):
        raise UsageError(f"mode {mode!r}: choose keep, grey or rgb")
    return Form(mode, size, window)


def _scheme(name: str, block: int | None, option: list[str] | None) -> tuple[str, dict[str, Any]]:
    from medveil.schemes import registry

    full = f"learnable-{name}" if f"learnable-{name}" in registry.names() else name
    registry.load(full)
    options = dict(parse_option(text) for text in option or [])
    if block is not None:
        options["block"] = block
    return full, options


def _learnable(name: str) -> bool:
    from medveil.schemes import registry

    return registry.load(name).claim.learnable


def _tuned(names: list[str], texts: list[str]) -> dict[str, Any]:
    """Return the options of the one attack that is named. Raises UsageError where it has no such option."""
    from inspect import signature

    from medveil.attacks import registry

    given = dict(parse_option(text) for text in texts)
    if given and len(names) != 1:
        raise UsageError("--tune is for one attack: name one")
    known = signature(registry.load(names[0])).parameters
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UsageError(f"{names[0]} has no option {unknown[0]}: it has {', '.join(known) or 'none'}")
    for name, value in given.items():
        default = known[name].default
        try:
            given[name] = float(value) if isinstance(default, float) else value
        except ValueError:
            raise UsageError(f"{name}={value}: give a number") from None
        if type(given[name]) is not type(default) and default is not None:
            raise UsageError(f"{name}={value}: give a {'whole number' if isinstance(default, int) else 'word'}")
    return given


def _pictures(source: Path, form: Any, most: int | None, seed: int, split: str | None, broken: str) -> Collection:
    from medveil.attacks.image_sets import gather_pictures

    if broken not in ("skip", "refuse"):
        raise UsageError(f"broken files {broken!r}: choose skip or refuse")
    return gather_pictures(source, form, most=most, seed=seed, split=split, broken=broken)


def _encrypted_here(
    scheme: str,
    options: dict[str, Any],
    found: Collection,
    others: Collection | None,
    known: int,
    again: int,
    tick: Any,
) -> Material:
    from medveil.attacks.material import gather

    first = min(known, max(0, len(found.pictures) - 2))
    own = found.take(range(first, len(found.pictures)))
    grouped = all(found.groups)
    return gather(
        scheme,
        own.pictures,
        options=options,
        groups=own.groups if grouped else (),
        gallery=found.pictures,
        gallery_index=list(range(first, len(found.pictures))),
        gallery_groups=found.groups if grouped else (),
        known=found.pictures[:first],
        again=again,
        public=others.pictures if others is not None else (),
        progress=tick,
    )


def _given(encrypted: Path, found: Collection, truth: Path | None, others: Collection | None, known: int) -> Material:
    from medveil.attacks.image_sets import encrypted_material

    public = [] if others is None else others.pictures
    return encrypted_material(encrypted, found, truth, known=known, public=public)


# How a person gives what an attack lacks.
_GIVEN_BY = {
    "again": "--images with --again N",
    "known": "--known N",
    "public": "--public DIR",
    "groups": "images whose patients are known (a manifest, or a known layout)",
    "gallery_groups": "images whose patients are known (a manifest, or a known layout)",
}


def _attacked(
    names: list[str], material: Material, seed: int, tuned: dict[str, Any], notes: tuple[str, ...], *, quiet: bool
) -> Page:
    from medveil.attacks import registry
    from medveil.attacks.leakage import run_attacks, words
    from medveil.attacks.report import Page
    from medveil.errors import UnsupportedError

    results = []
    for name in names:
        ways = {_GIVEN_BY[need] for need in material.lacks(registry.load(name).needs) if need in _GIVEN_BY}
        if ways:
            raise UnsupportedError(f"attack {name} lacks what it needs: give {' and '.join(sorted(ways))}")
        with terminal.progress(name, quiet=quiet, unit="") as tick:
            done, skipped = run_attacks([name], material, seed, partial(_ticked, tick), tuned)
        if skipped:
            raise UnsupportedError(f"{name}: {skipped[0][1]}")
        results += done
    headline, bad = words(results)
    options = ", ".join(f"{k} {v}" for k, v in material.options.items())
    facts = [("scheme", f"{material.scheme} {options}"), ("images attacked", str(len(material.protected)))]
    if tuned:
        facts.append(("attack", ", ".join(f"{k} {v}" for k, v in tuned.items())))
    extra = {
        "scheme": material.scheme,
        "options": dict(material.options),
        "seed": seed,
        "tuned": tuned,
        "notes": list(notes),
    }
    return Page(f"Attacks on {material.scheme}", headline, bad, results, facts, list(notes), extra=extra)


def _ticked(tick: Any, _attack: str, done: int, total: int) -> None:
    tick(done, total)


def _finish(page: Page, out: Path, *, force: bool, as_json: bool) -> None:
    from medveil.attacks.report import write

    write(page, out, force=force)

    def text() -> None:
        terminal.out.print(page.headline)
        for result in page.results:
            for name, score in list(result.scores.items())[:2]:
                chance = "" if score.chance is None else f", chance {score.chance:.3f}"
                terminal.out.print(
                    f"  {result.attack:24} {name:12} {score.value:.3f} [{score.low:.3f}, {score.high:.3f}]{chance}"
                )
        for label, value in page.facts[2:]:
            terminal.out.print(f"{label}: {value}")
        for note in page.extra.get("notes", ()):
            terminal.out.print(f"note: {note}", markup=False)
        terminal.out.print(f"pictures and all figures: {out / 'index.html'}")

    terminal.emit({"ok": True, "out": str(out), **page.as_dict(), "exit": terminal.CLEAN}, as_json=as_json, text=text)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("attack")(attack)
    app.command("leakage")(leakage)
