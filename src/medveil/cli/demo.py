"""`medveil demo`: the whole story on three real studies, with pictures, in about a minute."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medveil.cli import demo_visual, demo_watermark, terminal
from medveil.cli.keys import Json
from medveil.errors import UnrecoverableError

if TYPE_CHECKING:
    from medveil.imaging.image import MedicalImage
    from medveil.vault import Vault

STUDIES = ("ct-thorax.dcm", "xray-chest-15-bit.dcm", "mr-10-frames.dcm")
CLOUDS = ("north", "east", "south", "west")
LOST, TAMPERING = "east", "south"
_CONFIG = """[vault]
threshold = "2/4"
state = "{state}"
"""
_STORE = """
[[store]]
type = "directory"
name = "{name}"
provider = "{name}"
path = "{path}"
"""


@dataclass(slots=True)
class Told:
    """What is known of one study as the story goes on."""

    name: str
    image: MedicalImage
    digest: str
    object_id: str = ""
    stored: int = 0
    shares: dict[str, bytes] = field(default_factory=dict)
    restored: MedicalImage | None = None
    findings: tuple[Any, ...] = ()
    touched: Any = None
    equal: bool = False


def demo(
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to make; default medveil-demo, medveil-demo-2, ...")
    ] = None,
    as_json: Json = False,
) -> None:
    """Seal real studies over four clouds, lose one, let another tamper, name it, repair, restore, and show it all."""
    from medveil.crypto.keyfile import OwnerKey
    from medveil.vault import Vault

    started = time.perf_counter()
    folder = _new_folder(out)
    say = _Teller(quiet=as_json)
    owner = OwnerKey.generate()
    say.step("key", "the hospital made an owner key; it never leaves this process")
    vault = Vault.init(_write_config(folder), owner)
    say.step("clouds", f"four providers: {', '.join(CLOUDS)}; any two parts restore, one alone says nothing")
    told = [_tell(name) for name in STUDIES]
    for study in told:
        _put(vault, study, folder)
        ratio = study.stored / len(study.image.original or b"x")
        say.step("sealed", f"{study.name}: {len(study.image.original or b''):,} bytes, stored/original {ratio:.2f}")
    _delete_all(folder / "clouds" / LOST)
    say.step("lost", f"cloud {LOST} deleted everything it had", bad=True)
    flipped = sum(_tamper(folder / "clouds" / TAMPERING, study) for study in told)
    say.step("tampered", f"cloud {TAMPERING} changed {flipped} bytes in the parts it keeps", bad=True)
    for study in told:
        _get(vault, study, folder)
        kinds = ", ".join(sorted({f"{f.kind.value} at {f.place}" for f in study.findings if f.place}))
        say.step("restored", f"{study.name}: {'identical' if study.equal else 'DIFFERENT'}; named: {kinds}")
    vault.repair()
    clean = not vault.verify().findings
    say.step("repaired", "every part is back in place and verifies" if clean else "parts are still missing")
    stories = demo_watermark.tell(say.step)
    shared = demo_visual.tell(say.step)
    seconds = time.perf_counter() - started
    studies = [_study_page(study) for study in told] + [s.study for s in stories] + [s.study for s in shared]
    page = _write_page(folder, studies, say.steps, seconds)
    good = (
        clean and all(study.equal for study in told) and all(s.equal for s in stories) and all(s.equal for s in shared)
    )
    result = {
        "ok": good,
        "page": str(page),
        "seconds": round(seconds, 2),
        "studies": [{"name": s.name, "sha256": s.digest, "identical": s.equal} for s in told],
        "watermarked": [{"name": s.name, "blocks": s.blocks, "identical": s.equal} for s in stories],
        "shared": [{"name": s.name, "identical": s.equal} for s in shared],
        "exit": 0 if good else UnrecoverableError.exit_code,
    }
    terminal.emit(
        result, as_json=as_json, text=lambda: terminal.out.print(f"\n{seconds:.1f} s. Open [bold]{page}[/bold]")
    )
    if not good:
        raise UnrecoverableError("the demo did not get every byte back: this is a bug, please report it")


class _Teller:
    """Prints each step as it happens and keeps it for the page."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.steps: list[tuple[str, str]] = []

    def step(self, what: str, words: str, *, bad: bool = False) -> None:
        self.steps.append((what, words))
        if not self.quiet:
            terminal.out.print(f"[bold {'red' if bad else 'green'}]{what:>9}[/]  {words}")


def _new_folder(out: Path | None) -> Path:
    """Make the demo's folder; a given one must not exist. Raises OutputExistsError."""
    from medveil.errors import OutputExistsError

    if out is not None:
        try:
            out.mkdir(parents=True)
        except FileExistsError:
            raise OutputExistsError(f"{out} exists already: name a folder that does not") from None
        return out.absolute()
    number = 1
    while True:
        folder = Path("medveil-demo" if number == 1 else f"medveil-demo-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder.absolute()


def _write_config(folder: Path) -> Path:
    config = folder / "vault.toml"
    text = _CONFIG.format(state=folder / "state")
    text += "".join(_STORE.format(name=name, path=folder / "clouds" / name) for name in CLOUDS)
    config.write_text(text, encoding="utf-8")
    return config


def _tell(name: str) -> Told:
    from medveil.imaging import samples
    from medveil.imaging.reader import read

    data = samples.load(name)
    return Told(name, read(data, name=name), hashlib.sha256(data).hexdigest())


def _put(vault: Vault, study: Told, folder: Path) -> None:
    before = {path for path in (folder / "clouds").rglob("*") if path.is_file()}
    with terminal.progress(study.name) as tick:
        study.object_id = vault.put(study.image, name=study.name, progress=tick).object_id
    new = [path for path in (folder / "clouds").rglob("*") if path.is_file() and path not in before]
    study.stored = sum(path.stat().st_size for path in new)
    for cloud in CLOUDS:
        own = [path for path in new if path.is_relative_to(folder / "clouds" / cloud)]
        study.shares[cloud] = max((path.read_bytes() for path in own), key=len)


def _delete_all(cloud: Path) -> None:
    for path in cloud.rglob("*"):
        if path.is_file():
            path.unlink()


def _tamper(cloud: Path, study: Told) -> int:
    """Change a few bytes in the study's part, as a malicious provider would; returns how many."""
    target = next(path for path in cloud.rglob("*") if path.is_file() and path.read_bytes() == study.shares[cloud.name])
    data = bytearray(study.shares[cloud.name])
    for place in (0.31, 0.32, 0.58):
        data[int(len(data) * place)] ^= 0x5A
    target.chmod(0o600)
    target.write_bytes(data)
    return 3


def _get(vault: Vault, study: Told, folder: Path) -> None:
    from medveil.imaging.reader import read

    target = folder / "restored" / study.name
    with terminal.progress(study.name) as tick:
        report = vault.get(study.object_id, target, progress=tick)
    data = target.read_bytes()
    study.findings = tuple(report.findings)
    study.equal = hashlib.sha256(data).hexdigest() == study.digest
    study.restored = read(data, name=study.name)
    study.touched = None if report.tamper_map is None else report.tamper_map.touched


def _write_page(folder: Path, studies: list[Any], steps: list[tuple[str, str]], seconds: float) -> Path:
    from medveil.cli.demo_page import Page, render

    page = Page(
        title="medveil: four clouds, one lost, one lying, every byte back",
        lead=f"Three real studies sealed over four clouds, any 2 of 4 restore; two images in two shares each, "
        f"two in shares that are seen by eye. "
        f"This run took {seconds:.1f} s.",
        steps=steps,
        studies=studies,
        outro="Every picture in this page was made by this run from the files in the folder beside it.",
    )
    target = folder / "index.html"
    target.write_text(render(page), encoding="utf-8")
    return target


def _study_page(study: Told) -> Any:
    from medveil.cli.demo_page import Panel, Study, bytes_as_picture, overlay
    from medveil.imaging.samples import SAMPLES
    from medveil.imaging.windowing import to_display

    sample = next(s for s in SAMPLES if s.name == study.name)
    frame = 0
    if study.touched is not None and study.touched.any():
        frame = int(study.touched.any(axis=(1, 2)).argmax())
    shown = to_display(study.image, frame=frame)
    label = f"frame {frame + 1} of {study.image.frames}" if study.image.frames > 1 else sample.shows
    first = [Panel(shown, "the original", label)]
    if study.touched is not None:
        portion = float(study.touched.mean())
        share = f"{100 * portion:.1f} % of the pixels depend on the changed bytes"
        if portion > 0.99 and study.image.pixel_span is None:
            share += ": the file was compressed before it came here, so no smaller region can be told"
        first.append(Panel(overlay(shown, study.touched[frame]), f"what {TAMPERING} touched", share, "bad"))
    if study.restored is not None:
        words = "byte for byte the original" if study.equal else "not the original"
        first.append(
            Panel(to_display(study.restored, frame=frame), "restored", words, "good" if study.equal else "bad")
        )
    fate = {LOST: ("deleted later", "bad"), TAMPERING: ("changed later", "bad")}
    clouds = [
        Panel(bytes_as_picture(study.shares[name]), f"what {name} sees", *fate.get(name, ("kept", "")))
        for name in CLOUDS
    ]
    return Study(
        title=study.name,
        source=f"{sample.shows}. Source: {sample.source}; licence {sample.licence}; credit {sample.credit}.",
        rows=[first, clouds],
        findings=[f"{f.kind.value}: {f.message}" for f in study.findings],
        facts=[
            ("object", study.object_id),
            ("original", f"{len(study.image.original or b''):,} bytes"),
            ("stored in all", f"{study.stored:,} bytes"),
            ("sha256 before", study.digest),
            ("sha256 after", study.digest if study.equal else "different"),
        ],
    )


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("demo")(demo)
