"""`medveil mpc`: certificates, servers, training and prediction among three servers, the demonstration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medveil.cli import terminal
from medveil.errors import InputError, MissingExtraError, OutputExistsError

if TYPE_CHECKING:
    from medveil.mpc.client import Run

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
    as_json: Json = False,
) -> None:
    """Run one of the three servers until it is interrupted; its log goes to stderr."""
    from medveil.mpc.party import main

    def ready(number: int, address: str) -> None:
        terminal.emit(
            {"ok": True, "party": number, "listening": address},
            as_json=as_json,
            text=lambda: terminal.out.print(f"party {number} listens on {address}"),
        )
        sys.stdout.flush()  # whoever started this may wait for it

    main(config, ready)


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
    momentum: Annotated[float, typer.Option(help="Momentum of SGD.")] = 0.9,
    optimizer: Annotated[str, typer.Option(help="sgd or adam (then with a learning rate of about 0.001).")] = "sgd",
    seed: Annotated[int | None, typer.Option(help="Of the public shuffles; a fresh one by default.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 32,
    module: Annotated[str, typer.Option("--model", help="MODULE:FUNCTION returning a torch module.")] = "",
    colour: Annotated[bool, typer.Option(help="Three channels.")] = False,
    weights: Annotated[Path | None, typer.Option("--out", help="Open the weights into this .safetensors.")] = None,
    picture: Annotated[Path | None, typer.Option("--curve", help="Draw the curves into this new .svg.")] = None,
    as_json: Json = False,
) -> None:
    """Train on shares; 7 of 10 images train, the others test. Prints the run's name for `predict`."""
    from medveil.cli.mpc_demo import Follower, announce, curve_table
    from medveil.mpc.client import connect
    from medveil.mpc.datasets import load

    _check_picture(weights)
    _check_picture(picture)
    data = load(dataset, _SIZE, colour=colour)
    learn, test = data.split(0.7, seed=1)
    with connect(cluster) as servers:
        run = servers.train(
            _model(module, data.images.shape[1], len(data.classes)), learn.images, learn.labels,
            epochs=epochs, lr=lr, momentum=momentum, optimizer=optimizer, batch_size=batch_size, seed=seed,
            test=(test.images, test.labels),
        )  # fmt: skip
        announce(run)
        terminal.err.print(f"run {run.job}: if this is interrupted, `medveil mpc resume` comes back to it")
        curve = Follower(run, epochs, len(learn)).follow()
        if weights is not None:
            save_weights(run, weights)
    _draw(picture, curve, [])
    classes = "classes " + ", ".join(f"{i} = {name}" for i, name in enumerate(data.classes))
    terminal.emit(
        {"ok": True, "run": run.job, "classes": data.classes, "curve": curve},
        as_json=as_json,
        text=lambda: terminal.out.print(curve_table(curve, []), f"{classes}\nrun {run.job}"),
    )


def save_weights(run: Run, path: Path) -> None:
    """Open a run's weights and write them once as safetensors."""
    from safetensors.numpy import save

    from medveil.cli.keys import write_new

    write_new(path, save({k: v.astype("float32") for k, v in run.reveal_state_dict().items()}))


@app.command()
def resume(
    run: Annotated[str, typer.Argument(help="The run's name, as `train` or `status` printed it.")],
    cluster: ClusterFile,
    weights: Annotated[Path | None, typer.Option("--out", help="Open the weights into this .safetensors.")] = None,
    picture: Annotated[Path | None, typer.Option("--curve", help="Draw the curves into this new .svg.")] = None,
    as_json: Json = False,
) -> None:
    """Come back to a training: watch it, go on after a server's crash, open what it has."""
    from medveil.cli.mpc_demo import Follower, announce, curve_table
    from medveil.mpc.client import connect

    _check_picture(weights)
    _check_picture(picture)
    with connect(cluster) as servers:
        known = servers.run(run)
        announce(known)
        if any(party["state"] in ("failed", "interrupted") for party in servers.status(run)):
            known.resume()
        curve = Follower(known, known.epochs, known.sizes[0]).follow()
        if weights is not None:
            save_weights(known, weights)
    _draw(picture, curve, [])
    terminal.emit(
        {"ok": True, "run": run, "curve": curve},
        as_json=as_json,
        text=lambda: terminal.out.print(curve_table(curve, []), f"run {run}"),
    )


@app.command()
def predict(
    run: Annotated[str, typer.Argument(help="The run's name, as `train` printed it.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    cluster: ClusterFile,
    as_json: Json = False,
) -> None:
    """Classify images with a trained run's shared weights; only you can open the result."""
    import numpy as np

    from medveil.mpc.client import connect
    from medveil.mpc.datasets import load_image

    with connect(cluster) as servers:
        known = servers.run(run)
        channels, size, _ = known.spec.input_shape
        batch = np.stack([load_image(p, size, colour=channels == 3) for p in images])
        rows = known.predict(batch).tolist()
    named = dict(zip((str(p) for p in images), rows, strict=True))

    def show() -> None:
        for path, row in named.items():
            terminal.out.print(path, " ".join(f"{i}: {p:.4f}" for i, p in enumerate(row)))

    terminal.emit({"ok": True, "probabilities": named}, as_json=as_json, text=show)


@app.command()
def forget(
    cluster: ClusterFile,
    run: Annotated[str, typer.Argument(help="The run's name, as `train` or `status` printed it.")] = "",
    unused: Annotated[
        bool,
        typer.Option("--unused", help="Remove instead the uploads that no job reads; shared models are among them."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove a finished run from the servers: its data, weights, checkpoints and results."""
    from medveil.mpc.client import connect

    if bool(run) == unused:
        raise InputError("give the name of a run, or --unused")
    with connect(cluster) as servers:
        gone = servers.unused() if unused else [run]
        for name in gone:
            if unused:
                servers.drop(name)
            else:
                servers.forget(name)
    said = f"removed {len(gone)} unused uploads" if unused else f"forgot {run}"
    terminal.emit({"ok": True, "forgotten": gone}, as_json=as_json, text=lambda: terminal.out.print(said))


@app.command()
def status(cluster: ClusterFile, as_json: Json = False) -> None:
    """Show your jobs at the three servers."""
    from medveil.mpc.client import connect

    with connect(cluster) as servers:
        states, unused = servers.states(), servers.unused()
    jobs = sorted(set().union(*states))

    def show() -> None:
        terminal.out.print(f"three servers answer; {len(jobs)} jobs, {len(unused)} uploads that no job reads")
        for job in jobs:
            terminal.out.print(job, " ".join(s.get(job, "unknown") for s in states))

    found = {j: [s.get(j, "unknown") for s in states] for j in jobs}
    terminal.emit({"ok": True, "jobs": found, "unused": unused}, as_json=as_json, text=show)


@app.command()
def demo(
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 6,
    dataset: Annotated[Path | None, typer.Option(help="A dataset of your own instead of the carried X-rays.")] = None,
    picture: Annotated[Path | None, typer.Option("--out", help="Draw the curves into this new .svg.")] = None,
    as_json: Json = False,
) -> None:
    """Start three servers here, train the paper's network on real chest X-rays, and lay plain training beside it."""
    from medveil.cli.mpc_demo import curve_table, demonstrate
    from medveil.mpc.datasets import SAMPLE, load

    _check_picture(picture)
    learn, test = load(dataset or SAMPLE, _SIZE).split(0.7, seed=1)
    result = demonstrate(_model("", learn.images.shape[1], len(learn.classes)), learn, test, epochs)
    _draw(picture, result["private"], result["plain"])

    def show() -> None:
        terminal.out.print(curve_table(result["private"], result["plain"]))
        terminal.out.print(
            f"{result['predicted']} test images predicted on shares: {result['right']} right, "
            f"{result['agree']} as the plainly trained model says"
        )
        terminal.out.print(f"another client asked for the weights: {result['stranger']}")

    terminal.emit(result, as_json=as_json, text=show)


def _check_picture(path: Path | None) -> None:
    """Refuse an existing file before hours of work, not after."""
    if path is not None and path.exists():
        raise OutputExistsError(f"{path} exists already: choose another name")


def _draw(path: Path | None, private: list[dict[str, float]], plain: list[dict[str, float]]) -> None:
    if path is not None:
        from medveil.cli.keys import write_new
        from medveil.mpc.curves import svg

        write_new(path, svg(private, plain).encode())
        terminal.err.print(f"wrote {path}")
