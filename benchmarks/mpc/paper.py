"""Paper 002's experiment: its network trained on shares and in plain torch, same start, shuffles and schedule.

`python -m benchmarks.mpc.paper busi|pneumonia [--epochs 15] [--limit N] [--out FOLDER]` writes the curves as JSON and
SVG, the client's local time against doing everything locally (the paper's figure 10), and the communication of each
layer, measured and derived (its table 3).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import machine
from benchmarks.mpc.programs import network
from medveil.errors import ProtocolError
from medveil.mpc.client import Run
from medveil.mpc.curves import svg
from medveil.mpc.datasets import LabelledImages, load_arrays, load_image
from medveil.mpc.local_servers import local
from medveil.mpc.nn.network import LAYERS
from medveil.mpc.nn.spec import INPUT
from medveil.mpc.plain import PlainTraining
from medveil.mpc.protocols.costs import COSTS
from medveil.mpc.protocols.rep3.engine import Rep3
from medveil.mpc.session import Session
from medveil.mpc.transport.memory import connect_memory
from medveil.networks.classifiers import paper_cnn
from medveil.recognition import datasets, splits

SIZE = 50
MOVED = 4  # plain trainings from a start that differs in the last bit


def busi(shared: Path) -> tuple[LabelledImages, LabelledImages]:
    """Return breast ultrasound, benign and malignant, 7:3 (266 and 114 images), no patient or twin on both sides."""
    classes = ("benign", "malignant")
    folder = shared / "breast_ultrasound_busi"
    listed = datasets.load(folder, SIZE)
    listed = listed.take([i for i, label in enumerate(listed.labels) if listed.classes[label] in classes])
    labels = np.array([classes.index(listed.classes[label]) for label in listed.labels])
    learn, test = splits.hold_out(replace(listed, labels=labels, classes=classes), 0.3, seed=1)

    def part(chosen: np.ndarray) -> LabelledImages:
        images = np.stack([load_image(folder / listed.names[i], SIZE) for i in chosen])
        return LabelledImages(images, labels[chosen], classes)

    return part(learn), part(test)


def pneumonia(shared: Path, limit: int) -> tuple[LabelledImages, LabelledImages]:
    """Return PneumoniaMNIST at 50 x 50, 7:3, `limit` images of each class in all."""
    data = load_arrays(shared / "chest_xray_pneumoniamnist" / "train.npz", SIZE)
    if limit:
        data = data.take(np.concatenate([np.flatnonzero(data.labels == c)[:limit] for c in (0, 1)]))
    return data.split(0.7, seed=1)


def layer_table() -> list[dict[str, Any]]:
    """Return bytes of all parties and rounds of each layer for one 3 x 50 x 50 image: measured and derived."""
    transports = connect_memory()
    rows: list[list[dict[str, Any]]] = [[], [], []]

    def derived(kind: str, count: int, kept: int) -> int:
        if kind == "conv2d":
            return COSTS["linear_narrow"].bytes_sent(count)
        if kind == "linear":
            return COSTS["linear_narrow"].bytes_sent(count)
        if kind == "maxpool2d":
            return COSTS["maximum_aa"].bytes_sent(2 * kept) + COSTS["maximum_aa"].bytes_sent(kept)
        return COSTS["relu_a"].bytes_sent(count) if kind == "relu" else 0

    def party(number: int) -> None:
        session = Session.open(transports[number])
        net, weights, x, _ = network(session, 3, 1)
        engine = Rep3(session)
        values = {INPUT: engine.cut(x, slice(1))}
        for spec in net.spec.layers:
            own = {k: weights[f"{spec.name}.{k}"] for k in spec.parameters}
            inputs = [values[i] for i in spec.inputs]
            extended = 0
            if spec.kind in ("conv2d", "linear") and not engine.is_wide(inputs[0]):
                extended = COSTS["extend_a"].bytes_sent(inputs[0].size)
            session.transport.reset()
            out, _ = LAYERS[spec.kind](spec).forward(engine, inputs, own, train=False)
            values[spec.name] = out
            count = out.size
            rows[number].append(
                {
                    "layer": spec.kind, "outputs": count, "rounds": session.transport.traffic.rounds,
                    "measured": session.transport.traffic.bytes_sent,
                    "derived": derived(spec.kind, count, count) + extended,
                }
            )  # fmt: skip

    threads = [threading.Thread(target=party, args=(p,)) for p in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return [
        {
            **a,
            "measured": a["measured"] + b["measured"] + c["measured"],
            "rounds": max(a["rounds"], b["rounds"], c["rounds"]),
        }
        for a, b, c in zip(*rows, strict=True)
    ]


def wait_through_faults(run: Run) -> None:
    """Wait for a run; a server that was silent for too long (a busy machine) costs an epoch, not the run."""
    while True:
        try:
            run.wait()
        except ProtocolError as e:
            sys.stderr.write(f"resumed after: {e}\n")
            time.sleep(10)
            run.resume()
        else:
            return


def moved(learn: LabelledImages, test: LabelledImages, epochs: int, lr: float, seed: int, count: int) -> list[float]:
    """Return last test accuracies of plain trainings from a start moved by at most half a unit of fixed point.

    Training amplifies so small a difference; what it does to plain training bounds what equality can mean.
    """
    import torch

    found = []
    for number in range(1, count + 1):
        torch.manual_seed(seed)
        model = paper_cnn(1, SIZE)
        noise = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for weights in model.parameters():
                weights += (torch.rand(weights.shape, generator=noise) - 0.5) * 2.0**-16
        plain = PlainTraining(model, learn, test, lr=lr, momentum=0.9, seed=seed)
        found.append([plain.epoch() for _ in range(epochs)][-1]["test_accuracy"])
    return found


def experiment(learn: LabelledImages, test: LabelledImages, epochs: int, lr: float, seed: int) -> dict[str, Any]:
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = paper_cnn(1, SIZE)
    plain = PlainTraining(model, learn, test, lr=lr, momentum=0.9, seed=seed)
    with local() as servers:
        cpu, start = time.process_time(), time.monotonic()
        run = servers.train(
            model, learn.images, learn.labels, epochs=epochs, lr=lr, momentum=0.9, seed=seed,
            test=(test.images, test.labels),
        )  # fmt: skip
        client_cpu = time.process_time() - cpu
        wait_through_faults(run)
        private_seconds = time.monotonic() - start
        private = [run.reveal_metrics(e) for e in range(epochs)]
        mine = run.predict(test.images).argmax(1)
        sent = servers.bytes_sent
    cpu = time.process_time()
    curves = [plain.epoch() for _ in range(epochs)]
    plain_cpu = time.process_time() - cpu
    theirs = plain.predict(test.images).argmax(1)
    return {
        "train images": len(learn), "test images": len(test), "epochs": epochs, "lr": lr, "seed": seed,
        "private": private, "plain": curves,
        "test accuracy, private": private[-1]["test_accuracy"], "test accuracy, plain": curves[-1]["test_accuracy"],
        "test accuracies, plain, start moved by half a unit": moved(learn, test, epochs, lr, seed, MOVED),
        "test predictions that agree": int((mine == theirs).sum()),
        "client's own seconds (CPU), private": client_cpu, "plain training, seconds (CPU)": plain_cpu,
        "bytes the client sent": sent, "servers' seconds": private_seconds, "load": os.getloadavg(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=["busi", "pneumonia", "layers"])
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args()
    if options.dataset == "layers":
        text = json.dumps(layer_table(), indent=1)
        (options.out / "layers.json").write_text(text + "\n")
        print(text)
        return
    learn, test = busi(options.shared) if options.dataset == "busi" else pneumonia(options.shared, options.limit)
    result = experiment(learn, test, options.epochs, options.lr, options.seed)
    limit = f" --limit {options.limit}" if options.limit else ""
    command = f"python -m benchmarks.mpc.paper {options.dataset}{limit} --out docs/results/mpc"
    result = {"command": command, "machine": machine(), **result}
    (options.out / f"{options.dataset}.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / f"{options.dataset}.svg").write_text(svg(result["private"], result["plain"]))
    print(json.dumps({k: v for k, v in result.items() if k not in ("private", "plain")}, indent=1))


if __name__ == "__main__":
    main()
