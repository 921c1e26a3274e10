"""Whether a network learns from the parts: F1, AUC and calibration on splits that cut no patient."""

from __future__ import annotations

from typing import Any

import numpy as np

from medveil.attacks.views import grey, view
from medveil.errors import UnsupportedError
from medveil.evaluation import three_servers
from medveil.evaluation.measures.bench import Bench, Measure, Measured, Pixels, image_of, interval, keyed
from medveil.evaluation.subjects import Subject
from medveil.evaluation.three_servers import ThreeServerShares
from medveil.metrics import classification
from medveil.metrics.uncertainty import bootstrap

_GUESSES = 400
_ONE_IN_A_THOUSAND = 3.09  # standard deviations
PLAIN = Subject("plain", "plain")
"""The row that others are compared with: the same pictures, not protected."""


def take(bench: Bench) -> Measured:
    """Train on what the keeper of the first part sees, under one data set key where the scheme takes one."""
    from medveil.recognition.datasets import Dataset
    from medveil.recognition.plan import TrainingPlan
    from medveil.recognition.training import cross_validate

    corpus, effort = bench.corpus, bench.effort
    if not len(corpus.labels):
        raise UnsupportedError(f"corpus {corpus.name} has no labels to learn")
    count = min(effort.train, len(corpus))
    if bench.subject.scheme == ThreeServerShares.name:
        return _among_three_servers(bench, count)
    pictures = corpus.images[:count]
    seen = pictures if bench.subject == PLAIN else _seen(bench, pictures)
    data = Dataset(
        seen[..., None], corpus.labels[:count], corpus.classes, corpus.groups[:count], tuple(map(str, range(count)))
    )
    step = max(1, effort.epochs // 3)
    plan = TrainingPlan(
        model=effort.model, epochs=effort.epochs, lr=0.02, step=step, seed=bench.seed, device="cpu", validate=0
    )
    found = cross_validate(data, plan, folds=effort.folds).pooled()
    out = _judged(found.labels, found.probabilities, bench.seed)
    out.note = f"{effort.model}, {count} pictures, {effort.epochs} epochs, {effort.folds} folds that cut no patient"
    return out


def _f1_macro(pairs: Any) -> float:
    """Return the macro F1 over classes that occur; pairs: (n, 2) of truth and prediction. As `classification.scores`,
    without its cost, since it is taken a thousand times.
    """
    truth, said = pairs[:, 0], pairs[:, 1]
    scores = []
    for label in np.unique(truth):
        hits = float(((truth == label) & (said == label)).sum())
        scores.append(2 * hits / float((truth == label).sum() + (said == label).sum()))
    return float(np.mean(scores))


def _judged(labels: Any, p: Any, seed: int) -> Measured:
    measured = classification.scores(labels, p)
    pairs = np.stack([labels, p.argmax(axis=1)], axis=1)
    f1 = bootstrap(pairs, _f1_macro, seed, resamples=1000)
    rng = np.random.default_rng(seed)
    guesses = [_f1_macro(np.stack([labels, rng.permutation(pairs[:, 1])], axis=1)) for _ in range(_GUESSES)]
    out = Measured({k: v for k, v in measured.items() if k != "f1_macro"})
    # chance: what the same predictions reach when they are shuffled, one time in a thousand
    chance = float(np.mean(guesses) + _ONE_IN_A_THOUSAND * np.std(guesses))
    out.values["f1_macro"] = interval(f1, len(labels), chance)
    if p.shape[1] == 2:
        x, y = classification.roc(labels, p, 1)
        out.curves["roc"] = [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    return out


def _among_three_servers(bench: Bench, count: int) -> Measured:
    """Train among three servers; the row's F1 stands beside that of the same network trained in plain."""
    corpus = bench.corpus
    epochs = max(2, bench.effort.epochs // 3)
    found = three_servers.train(
        corpus.images[:count],
        corpus.labels[:count],
        corpus.groups[:count],
        corpus.classes,
        epochs=epochs,
        seed=bench.seed,
    )
    out = _judged(found["labels"], found["private"], bench.seed)
    out.values |= {k: found[k] for k in ("seconds", "images_per_second", "client_bytes", "learnt_from")}
    out.values["plain_f1_macro"] = three_servers.f1(found["labels"], found["plain"])
    out.values["predictions_agree"] = float((found["private"].argmax(1) == found["plain"].argmax(1)).mean())
    out.note = (
        f"a small network, {found['learnt_from']} pictures as shares, {epochs} epochs among three servers, "
        f"{found['images_per_second']:.1f} pictures a second; the plain twin beside it"
    )
    return out


def _seen(bench: Bench, pictures: Pixels) -> Pixels:
    scheme = keyed(bench.subject, bench.rng.bytes(32))
    shape = pictures.shape[1:]
    views = [grey(view(scheme.protect(image_of(p)).parts[0], shape)) for p in pictures]
    return np.stack([_fit(v, shape) for v in views])


def _fit(seen: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Crop or fill a view to the pictures' size: parts may be padded to whole blocks, or shorter."""
    if seen.shape[0] >= shape[0] and seen.shape[1] >= shape[1]:
        return np.ascontiguousarray(seen[: shape[0], : shape[1]])
    return np.resize(seen.reshape(-1), shape)


MEASURE = Measure(
    "utility",
    "Learning from the parts",
    "How well a small network classifies what the cloud sees. What can be learnt has not been hidden.",
    take,
)
