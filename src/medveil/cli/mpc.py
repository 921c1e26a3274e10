"""`medveil mpc`: certificates, servers, training and prediction among three servers, the demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from medveil.cli import terminal
from medveil.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from medveil.mpc.client import Run, Servers
    from medveil.mpc.datasets import LabelledImages

app = typer.Typer(name="mpc", help="Three servers train and run a CNN without seeing images, labels or the model.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
ClusterFile = Annotated[Path, typer.Option("--cluster", help="cluster.toml: the three servers and your certificate.")]
_SIZE = 50


def add_to(parent: typer.Typer) -> None:
    """Add this group to the program."""
    parent.add_typer(app)


@app.command()
def certs(
    folder: Annotated[Path, typer.Argument(help="Where ca.pem and the certificates go.")],
    names: Annotated[
        list[str] | None, typer.Argument(help="party-0, party-1, party-2, client-NAME; all of them by default.")
    ] = None,
    cluster: Annotated[
        str, typer.Option("--cluster-on", help="Also write ready configurations: HOST:FIRSTPORT for one machine.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Make a development authority and certificates for the three servers and their clients."""
    from medveil.mpc.certificates import make_certificates
    from medveil.mpc.cluster import write_cluster

    if cluster:
        host, _, port = cluster.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65533:
            raise InputError("--cluster-on takes HOST:FIRSTPORT, for example 127.0.0.1:9100")
        first = int(port)
        written = [write_cluster(folder, "medveil", (first, first + 1, first + 2), host)]
    else:
        written = make_certificates(folder, names or ["party-0", "party-1", "party-2", "client-local"])
    terminal.emit(
        {"ok": True, "written": [str(p) for p in written]},
        as_json=as_json,
        text=lambda: terminal.out.print("\n".join(str(p) for p in written)),
    )


@app.command()
def party(
    config: Annotated[Path, typer.Option("--config", help="This server's party.toml.")],
) -> None:
    """Run one of the three servers until it is interrupted."""
    from medveil.mpc.party import main

    main(config)


def _model(module: str, channels: int, classes: int) -> Any:
    from medveil.networks.classifiers import paper_cnn

    if not module:
        try:
            import torch
        except ImportError as e:
            raise MissingExtraError("training among three servers", "mpc") from e
        torch.manual_seed(0)  # the start is public; only what is learnt is secret
        return paper_cnn(channels, _SIZE, classes)
    name, _, attribute = module.partition(":")
    import importlib

    try:
        return getattr(importlib.import_module(name), attribute)()
    except (ImportError, AttributeError) as e:
        raise InputError(f"{module} is not MODULE:FUNCTION that returns a torch module") from e


@app.command()
def train(
    dataset: Annotated[Path, typer.Argument(help="A folder with a sub-folder a class, or an .npz.")],
    cluster: ClusterFile,
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 15,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 0.05,
    momentum: Annotated[float, typer.Option(help="Momentum.")] = 0.9,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 32,
    module: Annotated[str, typer.Option("--model", help="MODULE:FUNCTION returning a torch module.")] = "",
    colour: Annotated[bool, typer.Option(help="Three channels.")] = False,
    weights: Annotated[Path | None, typer.Option("--out", help="Open the weights into this .safetensors.")] = None,
    as_json: Json = False,
) -> None:
    """Train on shares; 7 of 10 images train, the others test. Prints the run's name for `predict`."""
    from medveil.mpc.client import connect
    from medveil.mpc.datasets import load

    data = load(dataset, _SIZE, colour=colour)
    learn, test = data.split(0.7, seed=1)
    with connect(cluster) as servers:
        run = servers.train(
            _model(module, data.images.shape[1], len(data.classes)), learn.images, learn.labels,
            epochs=epochs, lr=lr, momentum=momentum, batch_size=batch_size, test=(test.images, test.labels),
        )  # fmt: skip
        for line in run.reveals:
            terminal.err.print(f"can be opened: {line}")
        follow(run, epochs, len(learn))
        curve = [run.reveal_metrics(e) for e in range(epochs)]
        if weights is not None:
            save_weights(run, weights)
    terminal.emit(
        {"ok": True, "run": run.job, "classes": data.classes, "curve": curve},
        as_json=as_json,
        text=lambda: terminal.out.print(curve_table(curve, []), f"run {run.job}"),
    )


def save_weights(run: Run, path: Path) -> None:
    """Open a run's weights and write them once as safetensors."""
    from safetensors.numpy import save

    from medveil.cli.keys import write_new

    write_new(path, save({k: v.astype("float32") for k, v in run.reveal_state_dict().items()}))


def follow(run: Run, epochs: int, size: int) -> None:
    """Show a run's progress until it is done."""
    with Progress(
        TextColumn("epoch {task.fields[epoch]}"), BarColumn(), TimeRemainingColumn(), console=terminal.err
    ) as bars:
        task = bars.add_task("train", total=epochs * size, epoch=1)

        def show(progress: dict[str, Any]) -> None:
            epoch = int(progress.get("epoch", 0))
            done = epoch * size + int(progress.get("sample", 0)) % max(size, 1)
            bars.update(task, completed=done, epoch=min(epoch + 1, epochs))

        run.wait(on_progress=show)
        bars.update(task, completed=epochs * size)


def curve_table(private: list[dict[str, float]], plain: list[dict[str, float]]) -> Table:
    """Return epochs as rows, private beside plain where there is a plain training."""
    table = Table(show_edge=False, pad_edge=False)
    names = list(private[0]) if private else []
    table.add_column("epoch")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
        if plain:
            table.add_column("plain", justify="right", style="dim")
    for epoch, row in enumerate(private):
        cells = []
        for name in names:
            cells.append(f"{row[name]:.4f}")
            if plain:
                cells.append(f"{plain[epoch][name]:.4f}")
        table.add_row(str(epoch + 1), *cells)
    return table


@app.command()
def predict(
    run: Annotated[str, typer.Argument(help="The run's name, as `train` printed it.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    cluster: ClusterFile,
    module: Annotated[str, typer.Option("--model", help="The MODULE:FUNCTION that was trained.")] = "",
    classes: Annotated[int, typer.Option(help="Number of classes.")] = 2,
    colour: Annotated[bool, typer.Option(help="Three channels.")] = False,
    as_json: Json = False,
) -> None:
    """Classify images with a trained run's shared weights; only you can open the result."""
    import numpy as np

    from medveil.mpc.client import connect
    from medveil.mpc.datasets import load_image
    from medveil.mpc.nn.trace import from_module

    batch = np.stack([load_image(p, _SIZE, colour=colour) for p in images])
    spec, _ = from_module(_model(module, batch.shape[1], classes), (batch.shape[1], _SIZE, _SIZE), train=True)
    with connect(cluster) as servers:
        z = servers.predict(spec, run, batch)
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    rows = (powers / powers.sum(axis=1, keepdims=True)).tolist()
    named = dict(zip((str(p) for p in images), rows, strict=True))

    def show() -> None:
        for path, row in named.items():
            terminal.out.print(path, " ".join(f"{p:.4f}" for p in row))

    terminal.emit({"ok": True, "probabilities": named}, as_json=as_json, text=show)


@app.command()
def status(cluster: ClusterFile, as_json: Json = False) -> None:
    """Show your jobs at the three servers."""
    from medveil.mpc.client import connect

    with connect(cluster) as servers:
        states = servers.states()
    jobs = sorted(set().union(*states))

    def show() -> None:
        terminal.out.print(f"three servers answer; {len(jobs)} jobs")
        for job in jobs:
            terminal.out.print(job, " ".join(s.get(job, "unknown") for s in states))

    terminal.emit(
        {"ok": True, "jobs": {j: [s.get(j, "unknown") for s in states] for j in jobs}}, as_json=as_json, text=show
    )


@app.command()
def demo(
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 3,
    dataset: Annotated[Path | None, typer.Option(help="A dataset of your own instead of the carried X-rays.")] = None,
    as_json: Json = False,
) -> None:
    """Start three servers here, train the paper's network on real chest X-rays, and lay plain training beside it."""
    from medveil.mpc.datasets import SAMPLE, load
    from medveil.mpc.local_servers import local

    learn, test = load(dataset or SAMPLE, _SIZE).split(0.7, seed=1)
    with local() as servers:
        terminal.err.print(f"three servers are up; {len(learn)} images train, {len(test)} test, all as shares")
        result = _demonstrate(servers, learn, test, epochs)
    terminal.emit(
        result,
        as_json=as_json,
        text=lambda: terminal.out.print(
            curve_table(result["private"], result["plain"]),
            f"{result['agree']} of {result['predicted']} predictions agree with the plain model",
        ),
    )


def _demonstrate(servers: Servers, learn: LabelledImages, test: LabelledImages, epochs: int) -> dict[str, Any]:
    from medveil.mpc.plain import PlainTraining

    model = _model("", learn.images.shape[1], len(learn.classes))
    seed, lr, momentum = 7, 0.02, 0.9
    plain = PlainTraining(model, learn, test, lr=lr, momentum=momentum, seed=seed)
    run = servers.train(
        model, learn.images, learn.labels, epochs=epochs, lr=lr, momentum=momentum, seed=seed,
        test=(test.images, test.labels),
    )  # fmt: skip
    for line in run.reveals:
        terminal.err.print(f"can be opened: {line}")
    follow(run, epochs, len(learn))
    private = [run.reveal_metrics(e) for e in range(epochs)]
    curves = [plain.epoch() for _ in range(epochs)]
    shown = test.images[:16]
    mine, theirs = run.predict(shown).argmax(1), plain.predict(shown).argmax(1)
    return {
        "ok": True, "private": private, "plain": curves, "predicted": len(shown), "agree": int((mine == theirs).sum()),
        "bytes_sent_by_client": servers.bytes_sent,
    }  # fmt: skip
