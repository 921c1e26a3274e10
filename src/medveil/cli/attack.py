"""`medveil attack` and `medveil leakage`: what a scheme gives away, with chance levels, intervals and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medveil.cli import terminal
from medveil.cli.files import Force, parse_option
from medveil.cli.keys import Json
from medveil.errors import UsageError

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
    sample: Annotated[int | None, typer.Option("--sample", min=2, help="Read at most this many images.")] = None,
    mode: Mode = "keep",
    size: Size = None,
    window: Window = False,
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
    form = _form(mode, size, window=window)
    with terminal.progress("reading", quiet=as_json, unit="") as tick:
        if images is not None:
            if encrypted is not None or gallery is not None:
                raise UsageError("give --images, or --encrypted with --gallery, not both")
            found = _pictures(images, form, sample, seed, split)
            others = None if public is None else _pictures(public, form, None, seed, None)
            full, options = _scheme(scheme, block, option)
            material = _encrypted_here(full, options, found, others, known, again, tick)
        else:
            if encrypted is None or gallery is None:
                raise UsageError("give --encrypted DIR with --gallery DIR, or --images DIR with --scheme")
            material = _given(encrypted, _pictures(gallery, form, sample, seed, split), truth, public, known, form)
    page = _attacked(chosen, material, seed, quiet=as_json)
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
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Say what a scheme would leak of your images before you upload them: attacks on a sample, in plain words."""
    from medveil.attacks.leakage import Inquiry
    from medveil.attacks.leakage import leakage as report

    if out.exists() and not force:
        from medveil.errors import OutputExistsError

        raise OutputExistsError(f"{out} exists already: choose another place with --out, or pass --force")
    full, options = _scheme(scheme, block, option)
    found = _pictures(images, _form(mode, size, window=window), most, seed, None)
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


def _pictures(source: Path, form: Any, most: int | None, seed: int, split: str | None) -> Collection:
    from medveil.attacks.image_sets import gather_pictures

    return gather_pictures(source, form, most=most, seed=seed, split=split)


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


def _given(
    encrypted: Path, found: Collection, truth: Path | None, public: Path | None, known: int, form: Any
) -> Material:
    from medveil.attacks.image_sets import encrypted_material

    others = [] if public is None else _pictures(public, form, None, 0, None).pictures
    return encrypted_material(encrypted, found, truth, known=known, public=others)


def _attacked(names: list[str], material: Material, seed: int, *, quiet: bool) -> Page:
    from medveil.attacks.leakage import run_attacks, words
    from medveil.attacks.report import Page
    from medveil.errors import UnsupportedError

    results = []
    for name in names:
        with terminal.progress(name, quiet=quiet, unit="") as tick:
            done, skipped = run_attacks([name], material, seed, lambda _n, d, t, tick=tick: tick(d, t))  # type: ignore[misc]
        if skipped:
            raise UnsupportedError(f"{name}: {skipped[0][1]}")
        results += done
    headline, bad = words(results)
    options = ", ".join(f"{k} {v}" for k, v in material.options.items())
    facts = [("scheme", f"{material.scheme} {options}"), ("images attacked", str(len(material.protected)))]
    extra = {"scheme": material.scheme, "options": dict(material.options), "seed": seed}
    return Page(f"Attacks on {material.scheme}", headline, bad, results, facts, extra=extra)


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
        terminal.out.print(f"pictures and all figures: {out / 'index.html'}")

    terminal.emit({"ok": True, "out": str(out), **page.as_dict(), "exit": terminal.CLEAN}, as_json=as_json, text=text)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("attack")(attack)
    app.command("leakage")(leakage)
