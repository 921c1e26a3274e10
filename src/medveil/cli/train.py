"""`medveil train`, `predict` and `explain`: networks on plain, encrypted and restored images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from medveil.cli import terminal
from medveil.cli.keys import Json
from medveil.errors import InputError, MedveilError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from medveil.recognition.datasets import Dataset
    from medveil.recognition.plan import TrainingPlan
    from medveil.recognition.training import Report

Data = Annotated[Path | None, typer.Argument(metavar="[DATASET]", help="A labelled folder or .npz; see the manual.")]
Size = Annotated[int, typer.Option("--size", help="Rows and columns; 0 keeps them. Encrypted images repeat pixels.")]
Mode = Annotated[Literal["grey", "rgb", "keep"], typer.Option("--mode", help="Channels of the network's input.")]
Broken = Annotated[Literal["refuse", "skip"], typer.Option("--broken", help="What to do about files that break.")]
Window = Annotated[bool, typer.Option("--window", help="Take deeper pixels through their window (lossy).")]
Folded = Annotated[
    bool, typer.Option("--fold", help="Feed |2v - 255|: undoes negative-positive transformation, without a key.")
]
FoldMax = Annotated[
    bool, typer.Option("--fold-max", help="Fold, and keep a pixel's greatest channel: for grey encrypted as three.")
]
Rescrambled = Annotated[
    bool, typer.Option("--rescramble", help="Scramble SKK's or smoothed pictures anew in every epoch; needs no key.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


def train(
    out: Annotated[Path, typer.Option("--out", help="Folder for model, results, curves and pictures.")],
    dataset: Data = None,
    plan: Annotated[
        str | None, typer.Option("--plan", help="Run a paper's experiment: a carried plan's name, or a .toml file.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="With --plan: the folder of the datasets.")] = None,
    only: Annotated[
        str | None, typer.Option("--only", help="With --plan: run the cells that this pattern matches.")
    ] = None,
    model: Annotated[str, typer.Option(help="densenet121, xception, resnet18 or small-cnn.")] = "densenet121",
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the training part.")] = 100,
    batch: Annotated[int, typer.Option("--batch", help="Images a step.")] = 35,
    lr: Annotated[float, typer.Option("--lr", help="Learning rate at the start.")] = 0.1,
    step: Annotated[int, typer.Option("--step", help="Epochs after which the rate is divided by 10.")] = 10,
    folds: Annotated[int, typer.Option("--folds", help="Cross-validate so often; 0 trains one model.")] = 0,
    hold_out: Annotated[float, typer.Option("--hold-out", help="Share to test on where no split is named.")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", help="Of splits, first weights, order and shifts.")] = 0,
    size: Size = 64,
    mode: Mode = "grey",
    split: Annotated[str, typer.Option("--split", help="all, or only the train or test part.")] = "all",
    per_block: Annotated[
        int, typer.Option("--per-block", help="Keep one pixel of each block of an image smoothed by such blocks.")
    ] = 1,
    broken: Broken = "refuse",
    window: Window = False,
    findings: Annotated[
        str, typer.Option("--findings", help="Of NIH ChestX-ray14: the findings to tell apart, by comma.")
    ] = "",
    resolution: Annotated[str | None, typer.Option("--resolution", help="Of BreakHis: 40, 100, 200 or 400.")] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Carry weights over; the head is new.")] = None,
    groups: Annotated[
        int | None, typer.Option("--groups", help="Carry only the first so many groups of layers (transfusion).")
    ] = None,
    freeze: Annotated[bool, typer.Option("--freeze", help="Do not train the carried layers.")] = False,
    folded: Folded = False,
    fold_max: FoldMax = False,
    rescrambled: Rescrambled = False,
    precision: Annotated[Literal["fp32", "bf16"], typer.Option("--precision", help="Of the forward pass.")] = "fp32",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where to train.")] = "auto",
    processes: Annotated[int, typer.Option("--processes", help="Train in so many processes; see also torchrun.")] = 1,
    balance: Annotated[bool, typer.Option("--balance", help="Weigh classes by their rarity.")] = False,
    allow_leakage: Annotated[
        bool, typer.Option("--allow-leakage", help="Accept duplicates across the dataset's own split.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train and test a network, cross-validate it, or run an experiment of a paper.

    Duplicates and patients never stand on both sides of a split. An interrupted run goes on with --resume.
    """
    if (plan is None) == (dataset is None):
        raise UsageError("name a dataset to train on, or a paper's experiment with --plan and --data")
    if plan is not None:
        _experiment(plan, data, out, only, resume=resume, force=force, as_json=as_json)
        return
    from medveil.recognition.plan import TrainingPlan

    form = "fold-max" if fold_max else "fold" if folded else "plain"
    settings = TrainingPlan(
        model=model, epochs=epochs, batch=batch, lr=lr, step=step, input=form,
        precision=precision, device=device, balance=balance, seed=seed, freeze=freeze, groups=groups,
        rescramble=rescrambled,
        weights=None if weights is None else str(weights),
    )  # fmt: skip
    if dataset is None:
        raise UsageError("name a dataset to train on")
    how = {
        "size": size or None, "mode": None if mode == "keep" else mode, "split": split, "broken": broken,
        "window": window, "findings": tuple(f for f in findings.split(",") if f), "resolution": resolution,
        "per_block": per_block,
    }  # fmt: skip
    options = {"hold_out": hold_out, "allow_leakage": allow_leakage, "resume": resume, "force": force}
    record = _run(dataset, how, settings, out, folds, options, processes, quiet=as_json)
    if record is not None:
        terminal.emit({"ok": True, "out": str(out), **record}, as_json=as_json, text=lambda: _say(record, out))


def _run(
    dataset: Path, how: dict[str, Any], settings: TrainingPlan, out: Path, folds: int, options: dict[str, Any],
    processes: int, *, quiet: bool,
) -> dict[str, Any] | None:  # fmt: skip
    from medveil.recognition import distributed, results

    if processes > 1 or distributed.by_torchrun():
        if folds:
            raise UsageError("cross-validation runs in one process: start one command a fold's model, or drop --folds")
        if distributed.by_torchrun():
            with distributed.joined() as rank:
                _train_one(dataset, how, settings, out, options, quiet=quiet or rank > 0)
            return results.read(out / results.NAME) if rank == 0 else None
        distributed.run(processes, _train_one, dataset, how, settings, out, options)
        return results.read(out / results.NAME)
    if folds:
        from medveil.recognition.training import cross_validate

        with _progress(quiet=quiet) as tick:
            made = cross_validate(
                _load(dataset, how), settings, folds, out, resume=options["resume"], force=options["force"], report=tick
            )
        return made.record
    return _train_one(dataset, how, settings, out, options, quiet=quiet)


def _load(dataset: Path, how: dict[str, Any]) -> Dataset:
    from medveil.recognition.datasets import load

    return load(dataset, **how)


def _train_one(
    dataset: Path,
    how: dict[str, Any],
    settings: TrainingPlan,
    out: Path,
    options: dict[str, Any],
    *,
    quiet: bool = True,
) -> dict[str, Any]:
    from medveil.recognition.training import train as train_network

    with _progress(quiet=quiet) as tick:
        return train_network(_load(dataset, how), settings, out, report=tick, **options).record


def _experiment(
    name: str, data: Path | None, out: Path, only: str | None, *, resume: bool, force: bool, as_json: bool
) -> None:
    from medveil.recognition import plans, tables
    from medveil.recognition.experiments import run_plan

    if data is None:
        raise UsageError("--plan needs --data: the folder that holds its datasets")
    plan = plans.read(name)
    with _progress(quiet=as_json) as tick:
        record = run_plan(plan, data, out, resume=resume, force=force, only=only, report=tick)
    terminal.emit(
        {"ok": True, "out": str(out), **record},
        as_json=as_json,
        text=lambda: terminal.out.print(tables.markdown(record), markup=False),
    )


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Report]:
    if quiet or not terminal.err.is_terminal:
        yield lambda _what, _done, _total: None
        return
    share = TextColumn("{task.percentage:.0f} %")
    columns = (TextColumn("{task.description}"), BarColumn(), share, TimeRemainingColumn())
    with Progress(*columns, console=terminal.err, transient=True) as bar:
        task = bar.add_task("train", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


def _say(record: dict[str, Any], out: Path) -> None:
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("measure")
    if record["kind"] == "cross-validation":
        for name in ("mean", "sd", "min", "max"):
            table.add_column(name, justify="right")
        for measure, row in record["summary"].items():
            table.add_row(measure, *(f"{row[n]:.4f}" for n in ("mean", "sd", "min", "max")))
    else:
        table.add_column("test", justify="right")
        for measure, value in record["outcome"]["scores"].items():
            table.add_row(measure, f"{value:.4f}")
    terminal.out.print(table)
    for note in record["data"]["notes"]:
        terminal.out.print(note, markup=False)
    terminal.out.print(f"{out}: results.json, curves and pictures")


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model.safetensors that train wrote.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")],
    out: Annotated[Path | None, typer.Option("--out", help="Also write the probabilities as CSV.")] = None,
    broken: Broken = "refuse",
    window: Window = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Classify images with a trained model; encrypted images with a model that learnt from such."""
    from medveil.recognition import loop, models

    network, card = models.load(model)
    files, batch, skipped = _pictures(_files(images), card, window=window, broken=broken)
    p = loop.predict(network, card, batch)
    named: list[dict[str, Any]] = []
    for file, row in zip(files, p, strict=True):
        shares = dict(zip(card.classes, row.tolist(), strict=True))
        named.append({"image": str(file), "class": card.classes[int(row.argmax())], "probabilities": shares})
    if out is not None:
        _write_csv(out, card.classes, named, force=force)

    def text() -> None:
        for entry in named:
            sure = max(entry["probabilities"].values())
            terminal.out.print(f"{entry['image']}  {entry['class']}  {sure:.4f}", markup=False)
        for note in skipped:
            terminal.err.print(f"note: left out {note}", markup=False)
        if card.scheme:
            terminal.err.print(f"note: this model learnt from pictures encrypted by {card.scheme}: it knows no others")

    record = {"ok": True, "model": card.model, "scheme": card.scheme or None, "predictions": named, "skipped": skipped}
    terminal.emit(record, as_json=as_json, text=text)


def _write_csv(out: Path, classes: tuple[str, ...], named: list[dict[str, Any]], *, force: bool) -> None:
    import csv

    from medveil.schemes.bundle import new_file

    with new_file(out, force=force) as working, working.open("w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle)
        table.writerow(["image", "class", *classes])
        for entry in named:
            table.writerow([entry["image"], entry["class"], *entry["probabilities"].values()])


def _files(given: list[Path]) -> list[Path]:
    files = []
    for path in given:
        if path.is_dir():
            files += sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(f"there is no image {path}: check the path")
    if not files:
        raise InputError("there are no images to look at: the folders are empty")
    return files


def _pictures(
    files: list[Path], card: Any, *, window: bool, broken: str = "refuse"
) -> tuple[list[Path], Any, list[str]]:
    """Return the files that were read, their pictures as the model takes them, uint8 (N, H, W, C), and what was not."""
    import numpy as np

    from medveil.recognition.datasets import one_per_block, to_size
    from medveil.recognition.layouts import Entry
    from medveil.recognition.reading import picture_of, to_grey

    taken, out, skipped = [], [], []
    for path in files:
        try:
            picture = picture_of(Entry(path, str(path), ""), window=window)
        except UnsupportedError:
            raise
        except MedveilError as error:
            if broken == "refuse":
                raise InputError(f"{path} cannot be read ({error})") from error
            skipped.append(f"{path}: {error}")
            continue
        taken.append(path)
        if card.channels == 1:
            picture = to_grey(picture)
        elif picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, axis=2)
        if card.per_block > 1:
            picture = one_per_block(picture[None], card.per_block)[0]
        picture = to_size(picture, *card.size, encrypted=bool(card.scheme))
        out.append(picture if picture.ndim == 3 else picture[..., None])
    if not out:
        raise InputError(f"none of the {len(files)} files is an image that can be read: {skipped[0]}")
    return taken, np.stack(out), skipped


def explain(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, the same for each model.")],
    out: Annotated[Path, typer.Option("--out", help="The picture to write (PNG).")],
    model: Annotated[
        list[str], typer.Option("--model", metavar="[NAME=]MODEL", help="A trained model; more for a comparison.")
    ],
    encrypted: Annotated[
        list[Path] | None,
        typer.Option("--encrypted", help="For the second model on: folder of its own versions of the images."),
    ] = None,
    target: Annotated[str | None, typer.Option("--class", help="The class to explain; the predicted one else.")] = None,
    window: Window = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Show which parts of pictures a model's decision rests on (Grad-CAM), for several models side by side.

    With --encrypted DIR (one a further model) each further model sees its own version of the images: the file of the
    same name in DIR or, of a dataset encrypted under pseudonyms, the one that DIR.names.csv names.
    """
    from medveil.recognition import models
    from medveil.recognition.explain import grad_cam, side_by_side

    files = _files(images)
    folders: list[Path | None] = [None, *(encrypted or [])]
    if len(folders) > len(model):
        raise UsageError(f"{len(folders) - 1} encrypted folders for {len(model)} models: the first sees the images")
    rows, said = [], []
    for number, given in enumerate(model):
        name, equals, path = given.rpartition("=")
        network, card = models.load(Path(path if equals else given))
        folder = folders[number] if number < len(folders) else None
        _, batch, _ = _pictures([_version(f, folder) for f in files], card, window=window)
        wanted = None
        if target is not None:
            if target not in card.classes:
                raise InputError(f"the model has no class {target!r}: it has {', '.join(card.classes)}")
            wanted = card.classes.index(target)
        explained = grad_cam(network, card, batch, wanted)
        rows.append((name or card.model, batch, explained))
        said.append({"model": name or card.model, "classes": [card.classes[int(t)] for t in explained.targets]})
    side_by_side(rows, out, force=force)
    terminal.emit(
        {"ok": True, "out": str(out), "models": said}, as_json=as_json, text=lambda: terminal.out.print(str(out))
    )


def _version(file: Path, folder: Path | None) -> Path:
    if folder is None:
        return file
    for candidate in (folder / file.name, folder / f"{file.stem}.png", folder / f"{file.name}.png"):
        if candidate.is_file():
            return candidate
    found = sorted(folder.rglob(f"{file.stem}*")) or _pseudonyms(file, folder)
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{folder} has no version of {file.name}: encrypt the same images, and keep {folder.name}.names.csv beside it"
    )


def _pseudonyms(file: Path, folder: Path) -> list[Path]:
    """Return the encrypted pictures whose source ends the path of a file, by the table of names beside a dataset."""
    from medveil.recognition.encryption import names_beside, read_names

    whole = file.resolve().parts
    sources = {name: Path(source).parts for name, source in read_names(names_beside(folder)).items()}
    return [folder / name for name, parts in sources.items() if whole[-len(parts) :] == parts]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file, also to `medveil learnable`."""
    from medveil.cli.learnable import learnable

    for group in (app, learnable):
        for command in (train, predict, explain):
            group.command()(command)
