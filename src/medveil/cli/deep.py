"""`medveil deep`: train a key for a deep-learning scheme, say what one is worth, and segment encrypted pictures.

Evaluated, not recommended: docs/schemes/deep.md says what these schemes are worth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from medveil.cli import terminal
from medveil.cli.keys import Json, KeyFile, open_owner
from medveil.errors import FormatError, InputError, OutputExistsError, UsageError

if TYPE_CHECKING:
    from medveil.crypto.keyfile import OwnerKey
    from medveil.schemes.deep.key import DeepKey
    from medveil.schemes.deep.pictures import Bytes
    from medveil.schemes.deep.training import Checkpoint, Plan

app = typer.Typer(
    name="deep", help="Keys of the deep-learning schemes (evaluated, not recommended).", no_args_is_help=True
)
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
_SAVE_EVERY = 30.0  # seconds between two checkpoints on disk


@app.command("train")
def train(
    method: Annotated[str, typer.Option(help="backprop, cyclegan, invertible or scramble_aae.")],
    images: Annotated[list[Path], typer.Option("--images", help="Folder or file of images; may be repeated.")],
    key: KeyFile,
    out: Annotated[Path, typer.Option("--out", help="The trained key to write, sealed to the owner.")],
    held_out: Annotated[
        list[Path] | None,
        typer.Option("--held-out", help="Images to measure the loss on; default: an eighth of --images by patient."),
    ] = None,
    config: Annotated[str, typer.Option(help="cpu (64 x 64) or gpu (256 x 256).")] = "cpu",
    size: Annotated[int | None, typer.Option(help="Side of the pictures to train for, in pixels.")] = None,
    codes: Annotated[int | None, typer.Option(help="backprop: bytes that a block of 8 x 8 becomes.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished training beside --out.")] = False,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Also write originals, ciphertexts and restored pictures as PNG.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train a key on your images and measure on others what it loses; interrupted trainings go on with --resume."""
    from medveil.schemes.deep import keyfile

    for target in (out, picture):
        if target is not None and target.exists() and not force:
            raise OutputExistsError(f"{target} exists already: choose another name or pass --force")
    owner = open_owner(key)
    if method == "invertible":
        trained, pictures = _draw(images, held_out or [], size)
    else:
        trained, pictures = _train(
            method, images, held_out or [], _plan(method, config, size, codes, epochs, rate), owner,
            _unfinished(out), resume=resume, force=force, quiet=as_json,
        )  # fmt: skip
    keyfile.save(out, trained, owner, force=force)
    _unfinished(out).unlink(missing_ok=True)
    if picture is not None:
        _write_picture(trained, pictures, picture, force=force)
    _tell(trained, {"ok": True, "key": str(out)}, as_json=as_json)


@app.command("info")
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A key that train wrote.")],
    key: Annotated[Path | None, typer.Option("--key", help="The owner's key file: checks what the file says.")] = None,
    as_json: Json = False,
) -> None:
    """Say what a trained key is for and what it loses; unverified without the owner's key."""
    from medveil.schemes.deep import keyfile

    if key is not None:
        trained = keyfile.load(file, open_owner(key))
        _tell(trained, {"ok": True, "key": str(file), "verified": True}, as_json=as_json)
        return
    record = keyfile.inspect(file)
    result: dict[str, Any] = {
        "ok": True, "key": str(file), "verified": False, "kind": record.kind, "method": record.method,
        "key_id": record.key_id.hex(), "owner": record.owner_id.hex(), "bytes": record.size,
        "measured": {name: float(text) for name, text in record.measured.items()}, "trained": dict(record.trained),
        "exit": terminal.CLEAN,
    }  # fmt: skip

    def text() -> None:
        terminal.out.print(f"{file}: {record.kind} of method {record.method}, {record.size} bytes, UNVERIFIED")
        _figures(result["measured"])

    terminal.emit(result, as_json=as_json, text=text)


@app.command("segment")
def segment(
    bundle: Annotated[Path, typer.Argument(metavar="DIR/NAME", help="A folder that protect wrote with deep-cyclegan.")],
    trained_key: Annotated[Path, typer.Option("--trained-key", help="The trained key it was protected with.")],
    key: KeyFile,
    out: Annotated[Path, typer.Option("--out", help="The mask to write, PNG: white where the region lies.")],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Find the region of interest in an encrypted picture without decrypting it (deep-cyclegan only)."""
    import numpy as np

    from medveil.imaging import raster
    from medveil.schemes import bundle as folders
    from medveil.schemes.deep.cyclegan import CycleGAN

    owner = open_owner(key)
    record, secret = folders.open_manifest(folders.read_manifest(bundle), owner)
    if record.scheme != CycleGAN.name:
        raise UsageError(f"{bundle} was made with {record.scheme}: only {CycleGAN.name} has a network that segments")
    parts, _ = record.match(folders.read_parts(bundle))
    masks = CycleGAN(trained_key=trained_key, owner=owner).segment(parts, secret)
    with folders.new_file(out, force=force) as working:
        working.write_bytes(raster.encode_png(np.concatenate(list(masks)).astype(np.uint8) * 255))
    share = float(masks.mean())
    terminal.emit(
        {"ok": True, "output": str(out), "share": share, "exit": terminal.CLEAN},
        as_json=as_json,
        text=lambda: terminal.out.print(f"{out}: the region takes {100 * share:.1f} % of the picture"),
    )


def _tell(trained: DeepKey, result: dict[str, Any], *, as_json: bool) -> None:
    scheme: Any = import_module(f"medveil.schemes.deep.{trained.method}").SCHEME
    name, claim = scheme.name, scheme(trained_key=trained).claim
    result |= {
        "scheme": name, "method": trained.method, "key_id": trained.key_id.hex(), "bytes": len(trained.pack()),
        "measured": dict(trained.measured), "trained": dict(trained.trained), "lossless": claim.lossless,
        "secure": claim.secure, "claim": claim.notes, "exit": terminal.CLEAN,
    }  # fmt: skip

    def text() -> None:
        terminal.out.print(f"{result['key']}: a key of {len(trained.pack())} bytes for scheme {name}")
        terminal.out.print(f"claim: {'lossless' if claim.lossless else 'LOSSY'}, evaluated and not recommended")
        terminal.out.print(claim.notes)
        _figures(dict(trained.measured))

    terminal.emit(result, as_json=as_json, text=text)


def _figures(measured: Mapping[str, float]) -> None:
    for name, value in sorted(measured.items()):
        terminal.out.print(f"  {name:12} {value:g}")


def _plan(
    method: str, config: str, size: int | None, codes: int | None, epochs: int | None, rate: float | None
) -> Plan:
    from medveil.schemes.deep.extra import need_torch

    need_torch()
    from medveil.schemes.deep.key import check_shape
    from medveil.schemes.deep.training import PLANS

    if method not in PLANS:
        raise UsageError(f"there is no method {method!r}: choose one of {', '.join((*PLANS, 'invertible'))}")
    if config not in PLANS[method]:
        raise UsageError(f"there is no configuration {config!r}: choose cpu or gpu")
    plan = PLANS[method][config]
    shape = dict(plan.shape)
    if size is not None:
        shape["size"] = size
    if codes is not None:
        if method != "backprop":
            raise UsageError(f"method {method} has no codes to choose: leave --codes out")
        shape["codes"] = codes
    try:
        check_shape(method, shape)
    except FormatError as error:
        raise UsageError(f"{error}: choose another --size or --codes") from None
    return replace(plan, shape=shape, epochs=epochs or plan.epochs, rate=rate or plan.rate)


def _draw(images: list[Path], held_out: list[Path], size: int | None) -> tuple[DeepKey, Bytes]:
    from medveil.schemes.deep import pictures, statistics

    shown, _ = pictures.load([*images, *held_out], size or 64)
    return statistics.draw_good_key(shown), shown


def _train(
    method: str, images: list[Path], held_out: list[Path], plan: Plan, owner: OwnerKey, unfinished: Path, *,
    resume: bool, force: bool, quiet: bool,
) -> tuple[DeepKey, Bytes]:  # fmt: skip
    from medveil.schemes.deep import keyfile, pictures, training

    if resume and not unfinished.exists():
        raise InputError(f"there is no unfinished training {unfinished}: start one without --resume")
    if unfinished.exists() and not (resume or force):
        raise OutputExistsError(f"{unfinished} is an unfinished training: pass --resume to go on, or --force")
    state = keyfile.load_checkpoint(unfinished, owner) if resume else None
    given, names = pictures.load(images, plan.shape["size"])
    shown, apart = (given, pictures.load(held_out, plan.shape["size"])[0]) if held_out else pictures.split(given, names)
    with _epochs(method, quiet=quiet) as progress, _saving(unfinished, owner) as save:
        trained, _ = training.train(method, shown, apart, plan, resume=state, save=save, progress=progress)
    return trained, apart


@contextmanager
def _saving(path: Path, owner: OwnerKey) -> Iterator[Callable[[Checkpoint], None]]:
    """Give what keeps the last good state: on disk every half minute, and at the end whatever ends the training."""
    from medveil.schemes.deep import keyfile

    latest: list[Checkpoint] = []
    written = time.monotonic()

    def save(state: Checkpoint) -> None:
        nonlocal written
        latest[:] = [state]
        if time.monotonic() - written > _SAVE_EVERY:
            keyfile.save_checkpoint(path, state, owner)
            written = time.monotonic()

    try:
        yield save
    finally:
        if latest:
            keyfile.save_checkpoint(path, latest[0], owner)


@contextmanager
def _epochs(method: str, *, quiet: bool) -> Iterator[Callable[[int, int, Mapping[str, float]], None]]:
    """Show epochs and losses on stderr while inside; nothing is drawn where stderr is no terminal."""
    if quiet or not terminal.err.is_terminal:
        yield lambda *_: None
        return
    columns = (
        TextColumn("{task.description} epoch {task.completed}/{task.total}"),
        BarColumn(),
        TextColumn("{task.fields[losses]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=terminal.err, transient=True) as bar:
        task = bar.add_task(method, total=None, losses="")

        def tick(epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
            said = " ".join(f"{name} {value:.4f}" for name, value in losses.items())
            bar.update(task, completed=epoch, total=epochs, losses=said)

        yield tick


def _unfinished(out: Path) -> Path:
    return out.with_name(f"{out.name}.training")


def _write_picture(trained: DeepKey, pictures: Bytes, target: Path, *, force: bool) -> None:
    from medveil.imaging import raster
    from medveil.schemes.bundle import new_file
    from medveil.schemes.deep import preview

    with new_file(target, force=force) as working:
        working.write_bytes(raster.encode_png(preview.montage(trained, pictures)))


def add_to(app_: typer.Typer) -> None:
    """Add the commands of this file."""
    app_.add_typer(app)
