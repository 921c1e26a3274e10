"""Pictures: Grad-CAM of models that learnt from plain, SKK and smoothed images, and what attacks make of each M."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np

from medveil.attacks.leading_bit import leading_bit
from medveil.attacks.minimum_difference import minimum_difference
from medveil.attacks.views import alike
from medveil.crypto import prg
from medveil.imaging.reader import read
from medveil.imaging.resampling import resize
from medveil.metrics.image_quality import ssim
from medveil.recognition import curves, models
from medveil.recognition.datasets import load
from medveil.recognition.explain import grad_cam, side_by_side
from medveil.recognition.protections import encrypt_images
from medveil.recognition.reading import to_grey
from medveil.recognition.training import MODEL, TrainingPlan, train
from medveil.schemes import registry as schemes

SHOWN = 6  # pictures in a row
ATTACKS = {"leading-bit": leading_bit, "minimum-difference": minimum_difference}
PLAN = Path(__file__).parent / "paper-001-figures-13-15.toml"


def explain(data: Path, work: Path, _page: Path, kept: Path) -> None:
    """Paper 001, figures 11 and 12: the small CNN on plain, SKK and smoothed (M = 4) brain pictures, side by side."""
    plain = load(data / "brain_tumor_mri", 64, split="all").subset(400, 1)
    large = load(data / "brain_tumor_mri", 256, split="all").subset(400, 1)
    with prg.allow_insecure_randomness("experiment"):
        key = prg.insecure_seeded(1, "recognition experiment explain").bytes(32)
    three = {"grey": "three"}
    versions = {
        "plain": plain,
        "SKK": encrypt_images(plain, "learnable-skk", three, key=key),
        "M = 4": encrypt_images(large, "learnable-smoothed", {"block": 4, **three}, key=key, per_block=True),
    }
    plan = TrainingPlan(model="small-cnn", epochs=15, step=10, precision="bf16", validate=0, seed=1)
    rows = []
    for name, dataset in versions.items():
        place = work / f"explain-{name.lower().replace(' ', '')}"
        if not (place / MODEL).is_file():
            train(dataset, plan, place, resume=True, allow_leakage=True)
        network, card = models.load(place / MODEL)
        names = np.flatnonzero(np.array(dataset.splits) == "test")
        tumours = [i for i in names if dataset.classes[dataset.labels[i]] != "notumor"][:: max(1, len(names) // SHOWN)]
        images = dataset.images[tumours[:SHOWN]]
        rows.append((name, images, grad_cam(network, card, images)))
    kept.mkdir(parents=True, exist_ok=True)
    side_by_side(rows, kept / "grad-cam.png", force=True)


def figures(data: Path, _work: Path, _page: Path, kept: Path) -> None:
    """Paper 001, figures 13 to 15: columns are M, rows the encrypted picture and each attack's."""
    plan = tomllib.loads(PLAN.read_text(encoding="utf-8"))
    picture = resize(to_grey(read(data / plan["image"]).pixels[0]), plan["size"], plan["size"])
    with prg.allow_insecure_randomness("experiment"):
        key = prg.insecure_seeded(plan["seed"], "recognition experiment figures").bytes(32)
    plt = curves.pyplot()
    rows = ["encrypted", *plan["attacks"]]
    figure, axes = plt.subplots(len(rows), len(plan["blocks"]), figsize=(2 * len(plan["blocks"]), 2.2 * len(rows)))
    for column, block in enumerate(plan["blocks"]):
        scheme, options = ("learnable-skk", {}) if block == 1 else ("learnable-smoothed", {"block": block})
        encrypted = schemes.load(scheme)(**options, grey=plan["grey"], key=key).encrypt(picture[None])[0]
        shown = [encrypted]
        for name in plan["attacks"]:
            pairs = [alike(picture, ATTACKS[name](encrypted, bit)) for bit in (0, 1)]
            likeness = [ssim(original, attacked) for original, attacked in pairs]
            best = int(np.argmax(likeness))
            shown.append(pairs[best][1])
            axes[len(shown) - 1][column].set_title(f"SSIM {likeness[best]:.2f}", fontsize=8)
        axes[0][column].set_title(f"M = {block}", fontsize=9)
        for row, image in enumerate(shown):
            axes[row][column].imshow(image, cmap="gray", vmin=0, vmax=255)
            axes[row][column].set_xticks([])
            axes[row][column].set_yticks([])
    for row, name in enumerate(rows):
        axes[row][0].set_ylabel(name, fontsize=9)
    kept.mkdir(parents=True, exist_ok=True)
    curves.write_figure(kept / "paper-001-figures-13-15.png", figure)
