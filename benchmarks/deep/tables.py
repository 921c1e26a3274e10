"""The tables of paper 004 for the four deep-learning methods, with the public sample keys.

    python -m benchmarks.deep tables [--print]

Chest X-rays are the NIH test patients, whom no sample key was trained on; brain MR is another modality than the keys
were trained for. 64 x 64 pixels, 8 bits. Every figure but time and keys comes through the scheme's own interface.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks.deep.samples import DATA, xrays
from medveil.attacks.known_plaintext import KnownPlaintext
from medveil.attacks.material import gather, image_of
from medveil.imaging import raster
from medveil.metrics import cipher_statistics as measures
from medveil.metrics.image_quality import psnr, ssim
from medveil.schemes import registry
from medveil.schemes.deep import comparisons, pictures, preview, samples
from medveil.schemes.deep.integer_flow import IntegerFlow

METHODS = tuple(m for m in ("backprop", "cyclegan", "scramble_aae", "invertible") if m in samples.SHA256)
MOST = 48
ATTACKED = 12
STEPS = 60
KNOWN = (
    "scheme",
    "owner",
    "guess",
    "regression, 16",
    "regression, 64",
    "windows, 16",
    "windows, 64",
    "with U-Net, 16",
    "with U-Net, 64",
    "best SSIM",
)


def brain_mr() -> np.ndarray:
    """Return brain MR slices of the test split."""
    files = sorted((DATA.parent / "brain_tumor_mri" / "test").rglob("*.jpg"))
    return pictures.load(files[:: max(1, len(files) // MOST)][:MOST], 64)[0]


def chest() -> np.ndarray:
    whole = xrays("test")
    return whole[:: len(whole) // MOST][:MOST]


def name_of(method: str) -> str:
    return f"deep-{method.replace('_', '-')}"


def reconstruction(given: np.ndarray) -> str:
    """What comes back and what is stored: MSE, RMSE, PSNR, SSIM, exact pixels, kB, bits a pixel, ms, key bytes."""
    columns = ("scheme", "MSE", "RMSE", "PSNR dB (worst)", "SSIM", "pixels exact", "stored kB", "bit/pixel")
    columns = (*columns, "protect / restore ms", "key kB")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for method in METHODS:
        scheme = registry.load(name_of(method)).for_evaluation()
        back, sizes, spent = [], [], [0.0, 0.0]
        scheme.protect(image_of(given[0]))
        for picture in given:
            started = time.process_time()
            protected = scheme.protect(image_of(picture))
            middle = time.process_time()
            back.append(scheme.restore(protected.parts, protected.secret).image.pixels[0])  # type: ignore[union-attr]
            spent = [spent[0] + middle - started, spent[1] + time.process_time() - middle]
            sizes.append(len(protected.parts[0].data))
        found = np.stack(back)
        mse = float(np.mean((found.astype(float) - given) ** 2))
        quality = [psnr(a, b) for a, b in zip(given, found, strict=True)]
        said = "exact" if np.isinf(quality).all() else f"{np.mean(quality):.1f} ({np.min(quality):.1f})"
        alike = np.mean([ssim(a, b) for a, b in zip(given, found, strict=True)])
        exact = float((found == given).mean())
        size = np.mean(sizes)
        lines.append(
            f"| `{name_of(method)}` | {mse:.1f} | {mse**0.5:.2f} | {said} | "
            f"{alike:.3f} | {100 * exact:.1f} % | {size / 1000:.2f} | {8 * size / given[0].size:.2f} | "
            f"{1000 * spent[0] / len(given):.0f} / {1000 * spent[1] / len(given):.0f} | "
            f"{len(samples.load(method).pack()) / 1000:.0f} |"
        )
    return "\n".join(lines)


def wrong_keys(given: np.ndarray) -> str:
    """What another key makes of a ciphertext, and the owner's with every weight a little off."""
    rng = np.random.default_rng(4)
    guess = np.rint(xrays("train").mean(axis=0)).astype(np.uint8)
    blind = np.mean([psnr(p, guess) for p in given])
    names = (comparisons.OWN, comparisons.NEAR, comparisons.NEARBY, comparisons.ANOTHER)
    lines = [f"| scheme | {' | '.join(names)} |", "|---" * 5 + "|"]
    for method in METHODS:
        found = comparisons.decoded_by_others(samples.load(method), given, rng)
        cells = ["exact" if (found[n] == given).all() else f"{mean_psnr(given, found[n]):.1f}" for n in names]
        lines.append(f"| `{name_of(method)}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\nPSNR in dB; the mean chest X-ray, shown for every picture, has {blind:.1f} dB."


def batches(given: np.ndarray) -> str:
    """How many pixels differ when only the batch size changes, decoding in float32 and as the schemes do."""
    lines = ["| scheme | float32, batches of 1, 2, 7, 32 | as shipped |", "|---|---|---|"]
    for method in METHODS:
        single, shipped = comparisons.changed_by_batches(samples.load(method), given)
        lines.append(f"| `{name_of(method)}` | {100 * single:.4f} % | {100 * shipped:.4f} % |")
    return "\n".join(lines) + "\n\nShare of pixels that differ from one batch of all, the worst of the four sizes."


def known_plaintext(given: np.ndarray, folder: Path) -> str:
    """Attack `known-plaintext` with 16 and 64 pairs beside the owner's own decoder."""
    lines = [
        f"| {' | '.join(KNOWN)} |",
        "|---" * len(KNOWN) + "|",
        *(known_row(method, given, folder) for method in METHODS),
    ]
    rows = "original, ciphertext as bytes; from 16 and from 64 pairs regression, regression from windows, U-Net"
    return (
        "\n".join(lines)
        + f"\n\nPSNR in dB on {len(given)} pictures, U-Net trained for {STEPS} steps; rows of the figures: {rows}.\n\n"
        + "\n\n".join(
            f"![known plaintext against {name_of(m)}](deep/known-plaintext-{name_of(m)}.png)" for m in METHODS
        )
    )


def known_row(method: str, given: np.ndarray, folder: Path) -> str:
    """One method's row; its figure goes into `folder`."""
    train = xrays("train")
    name = name_of(method)
    material = gather(name, list(given), known=list(train[:: len(train) // 64][:64]))
    result = KnownPlaintext(learners=("linear", "patches", "unet"), steps=STEPS).run(material, seed=1)
    key = samples.load(method)
    own = comparisons.decoded(key, comparisons.encoded(key, given), 32)
    owner = "exact" if (own == given).all() else f"{mean_psnr(given, own):.1f}"
    s = result.scores
    best = next(iter(s)).removeprefix("psnr ")
    cells = [
        f"{s[f'psnr {n}'].value:.1f}"
        for n in ("linear 16", "linear 64", "patches 16", "patches 64", "unet 16", "unet 64")
    ]
    (folder / f"known-plaintext-{name}.png").write_bytes(raster.encode_png(result.pictures["decoded"]))
    middle = " | ".join(cells)
    return (
        f"| `{name}` | {owner} | {s['psnr linear 64'].chance:.1f} | {middle} | {s[f'ssim {best}'].value:.3f} ({best}) |"
    )


def mean_psnr(given: np.ndarray, found: np.ndarray) -> float:
    return float(np.mean([min(99.0, psnr(a, b)) for a, b in zip(given, found, strict=True)]))


def statistics() -> str:
    """Statistics of deep-invertible's ciphertexts of one X-ray at three sizes, one bit changed in corner and centre."""
    source = next(iter(sorted((DATA / "fullsize_1024").rglob("*.png"))))
    flow = IntegerFlow(samples.load("invertible"))
    lines = [
        "| size | NPCR corner / centre | critical | UACI corner / centre | critical | entropy | chi2 | adjacent |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for size in (64, 512, 1024):
        picture = pictures.load([source], size)[0][0]
        trio = np.stack([picture] * 3)
        trio[1, 0, 0] ^= 1
        trio[2, size // 2, size // 2] ^= 1
        one, corner, centre = flow.encrypt(trio)
        bounds = measures.critical_values(one.size, 0.05)
        along = [measures.adjacent_correlation(one, d) for d in ("horizontal", "vertical", "diagonal")]
        lines.append(
            f"| {size} | {measures.npcr(one, corner):.4f} / {measures.npcr(one, centre):.4f} | >= {bounds.npcr:.4f} | "
            f"{measures.uaci(one, corner):.4f} / {measures.uaci(one, centre):.4f} | "
            f"{bounds.uaci[0]:.4f}-{bounds.uaci[1]:.4f} | {measures.entropy(one):.4f} | "
            f"{measures.chi_square(one):.0f} | "
            f"{' / '.join(f'{a:.4f}' for a in along)} |"
        )
    started = time.process_time()
    flow.encrypt(trio[:1])
    speed = trio[0].nbytes / (time.process_time() - started) / 1e6
    tail = f"Critical values at alpha .05; chi-square below 293 at .05. {speed:.2f} MB/s of CPU time."
    return "\n".join(lines) + f"\n\n{tail}"


def previews(given: np.ndarray, folder: Path) -> str:
    lines = []
    for method in METHODS:
        (folder / f"{name_of(method)}.png").write_bytes(raster.encode_png(preview.montage(samples.load(method), given)))
        lines.append(f"![originals, ciphertexts and what comes back of {name_of(method)}](deep/{name_of(method)}.png)")
    return "\n\n".join(lines)


SECTIONS = ("chest", "brain", "known plaintext", "wrong keys", "batches", "statistics", "pictures")


def section(name: str, folder: Path) -> str:
    """Return one section's results as Markdown; pictures go beside the page."""
    folder.mkdir(parents=True, exist_ok=True)
    match name:
        case "chest":
            return reconstruction(chest())
        case "brain":
            return reconstruction(brain_mr())
        case "wrong keys":
            return wrong_keys(chest())
        case "batches":
            return batches(chest())
        case "known plaintext":
            return known_plaintext(chest()[: 4 * ATTACKED : 4], folder)
        case "statistics":
            return statistics()
        case "pictures":
            return previews(chest(), folder)
        case _:
            raise SystemExit(f"there is no section {name!r}: choose of {', '.join(SECTIONS)}")
