"""`medveil mpc demo`: three servers here, the paper's network on real X-rays, plain training beside it, one prediction.

Also what `mpc train` shows: progress and the curve, opened epoch by epoch to the owner alone.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from medveil.cli import terminal
from medveil.errors import PolicyError
from medveil.mpc.curves import text_plot

if TYPE_CHECKING:
    from medveil.mpc.client import Run, Servers
    from medveil.mpc.datasets import LabelledImages
    from medveil.mpc.plain import PlainTraining

Curve = list[dict[str, float]]
SEED, RATE, MOMENTUM, BATCH = 7, 0.02, 0.9, 8
_SHOWN = 16


class Follower:
    """Shows a run's progress and its curve as each epoch is opened; `plain` trains the same beside it."""

    def __init__(self, run: Run, epochs: int, size: int, plain: PlainTraining | None = None) -> None:
        self.run, self.epochs, self.size = run, epochs, size
        self.private: Curve = []
        self.plain: Curve = []
        self._training = plain
        self._bars = Progress(TextColumn("epoch {task.fields[epoch]}"), BarColumn(), TimeRemainingColumn())
        self._task = self._bars.add_task("train", total=epochs * size, epoch=1)

    def __repr__(self) -> str:
        return f"Follower({len(self.private)} of {self.epochs} epochs)"

    def follow(self) -> Curve:
        """Wait for the run; returns the private curve."""
        with Live(self._bars, console=terminal.err, refresh_per_second=4) as live:

            def show(progress: dict[str, Any]) -> None:
                epoch = int(progress.get("epoch", 0))
                done = epoch * self.size + int(progress.get("sample", 0)) % max(self.size, 1)
                self._bars.update(self._task, completed=done, epoch=min(epoch + 1, self.epochs))
                # A party reports an epoch a moment before its neighbours have stored theirs: stay one behind.
                self._open(epoch - 1)
                live.update(self._view())

            self.run.wait(on_progress=show)
            self._open(self.epochs)
            self._bars.update(self._task, completed=self.epochs * self.size)
            live.update(self._view())
        return self.private

    def _open(self, upto: int) -> None:
        for epoch in range(len(self.private), upto):
            self.private.append(self.run.reveal_metrics(epoch))
            if self._training is not None:
                self.plain.append(self._training.epoch())

    def _view(self) -> Group:
        if not self.private:
            return Group(self._bars)
        names = [n for n in ("train_loss", "test_accuracy") if n in self.private[0]]
        plots = [text_plot(n, self.private, self.plain, epochs=self.epochs) for n in names]
        return Group(self._bars, *plots, "")


def curve_table(private: Curve, plain: Curve) -> Table:
    """Return epochs as rows, private beside plain where there is a plain training."""
    table = Table(show_edge=False, pad_edge=False)
    names = list(private[0]) if private else []
    table.add_column("epoch")
    for name in names:
        table.add_column(name.replace("_", " ").replace("accuracy", "acc."), justify="right")
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


def announce(run: Run) -> None:
    """Say, before it runs, everything that can be opened and by whom."""
    for line in run.reveals:
        terminal.err.print(f"can be opened: {line}")


def demonstrate(model: Any, learn: LabelledImages, test: LabelledImages, epochs: int) -> dict[str, Any]:
    """Train, predict and let a stranger try; returns the result of the command."""
    from medveil.mpc.certificates import make_certificates
    from medveil.mpc.local_servers import local
    from medveil.mpc.plain import PlainTraining

    plain = PlainTraining(model, learn, test, lr=RATE, momentum=MOMENTUM, seed=SEED, batch_size=BATCH)
    with tempfile.TemporaryDirectory(prefix="medveil-mpc-") as name, local(Path(name)) as servers:
        terminal.err.print(f"three servers are up; {len(learn)} images train, {len(test)} test, all as shares")
        run = servers.train(
            model, learn.images, learn.labels, epochs=epochs, lr=RATE, momentum=MOMENTUM, seed=SEED,
            batch_size=BATCH, test=(test.images, test.labels),
        )  # fmt: skip
        announce(run)
        follower = Follower(run, epochs, len(learn), plain)
        private = follower.follow()
        shown = test.images[:_SHOWN]
        mine, theirs = run.predict(shown), plain.predict(shown)
        make_certificates(Path(name) / "certs", ["client-stranger"])
        refused = _stranger(servers, run)
        sent = servers.bytes_sent
    return {
        "ok": True, "private": private, "plain": follower.plain, "predicted": len(shown),
        "agree": int((mine.argmax(1) == theirs.argmax(1)).sum()),
        "right": int((mine.argmax(1) == test.labels[:_SHOWN]).sum()), "stranger": refused,
        "bytes_sent_by_client": sent,
    }  # fmt: skip


def _stranger(servers: Servers, run: Run) -> str:
    """Return what the servers answer another client that asks for the result."""
    from medveil.mpc.client import Servers as Client

    tls = servers.cluster.tls
    own = {"certificate": tls.certificate.with_name("client-stranger.pem"),
           "key": tls.key.with_name("client-stranger.key")}  # fmt: skip
    with Client(servers.cluster.model_copy(update={"tls": tls.model_copy(update=own)})) as other:
        try:
            other.download(run.job, "result")
        except PolicyError as e:
            return str(e)
    raise PolicyError("another client could open the result: please report this as a security bug")
