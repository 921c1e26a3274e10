"""The attacks of the page against both profiles, one-byte tampers by the thousand, and repair of wiped areas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.roi_watermark.images import deep, grey8, paper_rois
from medveil.attacks import roi_watermark as attacks
from medveil.imaging.image import MedicalImage
from medveil.imaging.roi import ROI
from medveil.schemes.base import FindingKind, Part
from medveil.schemes.roi_watermark import RoiWatermark
from medveil.schemes.roi_watermark.secret import ImageSecret


def one_region(roi: ROI) -> list[tuple[str, MedicalImage]]:
    """Our images with the region's pixels of the first in all of them: what one template or one lesion gives."""
    images = list(grey8().items())
    box = roi[0]
    inner = images[0][1].pixels[:, box.top : box.bottom, box.left : box.right]
    out = []
    for name, image in images:
        pixels = image.pixels.copy()
        pixels[:, box.top : box.bottom, box.left : box.right] = inner
        out.append((name, MedicalImage(pixels, 8)))
    return out


@dataclass(frozen=True)
class Unseen:
    paper: float
    hardened: int
    most_blocks: int


def attack_table(trials: int) -> tuple[str, Unseen]:
    roi = paper_rois()[0][1]
    images = one_region(roi)
    made = {
        profile: [RoiWatermark(profile=profile, carrier="bytes").protect(image, roi=roi) for _, image in images]
        for profile in ("paper", "hardened")
    }
    lines = [
        "**Attacks.** All images agree in the region; the attacker is the first cloud.\n",
        "| attack | paper profile | hardened profile |",
        "|---|---|---|",
    ]
    pictures = [image for _, image in images]
    for count in sorted({1, 3, len(images) - 2, len(images) - 1}):
        cells = []
        for profile in made:
            known = list(zip(pictures[1 : 1 + count], made[profile][1 : 1 + count], strict=True))
            found = attacks.keystream_reuse(known, pictures[0], made[profile][0], roi)
            cells.append(f"{found.fraction:.1%} of high nibbles (guessing: {found.chance:.1%})")
        lines.append(f"| keystream reuse, {count} known images | {cells[0]} | {cells[1]} |")
    cells = []
    for profile in made:
        found = attacks.guessed_region(pictures[1], pictures[0], made[profile][1], roi)
        cells.append(f"{found.fraction:.1%} of high nibbles outside the region")
    lines.append(f"| the region guessed, one share | {cells[0]} | {cells[1]} |")
    rng = np.random.default_rng(62)
    results = {"paper": [], "hardened": []}
    for profile, runs in results.items():
        scheme = RoiWatermark(profile=profile, carrier="bytes")
        for (_, image), protected in zip(images, made[profile], strict=True):
            runs.append(attacks.tamper_outside(scheme, image, protected, roi, trials, rng))
    cells = []
    for runs in results.values():
        unseen = [r.unseen / r.trials for r in runs]
        total = sum(r.trials for r in runs)
        false_trials = sum(r.false_blocks for r in runs)
        cells.append(
            f"{min(unseen):.0%} to {max(unseen):.0%} unseen of {total} ({sum(r.unseen for r in runs)}); up to "
            f"{max(r.most_blocks for r in runs)} blocks flagged by one byte, {false_trials} wrongly in all"
        )
    lines.append(f"| one byte outside the region changed | {cells[0]} | {cells[1]} |")
    paper = results["paper"]
    return "\n".join(lines), Unseen(
        sum(r.unseen for r in paper) / sum(r.trials for r in paper),
        sum(r.unseen for r in results["hardened"]),
        max(r.most_blocks for r in paper),
    )


@dataclass
class Tampers:
    tried: int = 0
    missed: int = 0
    one_block: int = 0
    right_share: int = 0
    repaired: int = 0
    wrong_pixels: int = 0


def one_byte_tampers(count: int) -> str:
    """Random bytes of random shares changed, anywhere in the containers."""
    rng = np.random.default_rng(10_000)
    images = [*grey8().values(), *deep().values()]
    groups: dict[str, Tampers] = {}
    roi = paper_rois()[2][1]
    for i, image in enumerate(images):
        for region in ((), roi):
            tally = groups.setdefault(f"{8 * image.pixels.dtype.itemsize} bit", Tampers())
            share = count // (2 * len(images)) + (1 if i == 0 and not region else 0) * (count % (2 * len(images)))
            _tamper(image, region, share, rng, tally)
    lines = [
        "**One-byte tampers**, any position of either share's containers, hardened profile.\n",
        (
            "| images | tried | missed | exactly the right block | right share blamed | block restored "
            "exactly | wrong pixels "
            "handed out unmarked |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for name, t in groups.items():
        lines.append(
            f"| {name} | {t.tried} | {t.missed} | {t.one_block} ({t.one_block / t.tried:.2%}) | {t.right_share} | "
            f"{t.repaired} ({t.repaired / t.tried:.1%}) | {t.wrong_pixels} |"
        )
    return "\n".join(lines)


def _tamper(image: MedicalImage, roi: ROI, count: int, rng: np.random.Generator, tally: Tampers) -> None:
    scheme = RoiWatermark(carrier="bytes")
    made = scheme.protect(image, roi=roi)
    end = len(made.parts[0].data) - ImageSecret.unpack(made.secret.data).header.record_size
    word = image.pixels.dtype.itemsize
    for _ in range(count):
        share, at, by = int(rng.integers(2)), int(rng.integers(128, end)), int(rng.integers(1, 256))
        data = bytearray(made.parts[share].data)
        data[at] ^= by
        parts = list(made.parts)
        parts[share] = Part(share + 1, bytes(data))
        restored = scheme.restore(parts, made.secret)
        row, column = divmod((at - 128) // word, image.columns)
        block = row // 16 * (image.columns // 16) + column // 16
        named = [f for f in restored.findings if f.chunk is not None]
        tally.tried += 1
        tally.missed += not named
        tally.one_block += [f.chunk for f in named] == [block]
        tally.right_share += all(f.part == share + 1 for f in named)
        tally.repaired += all(f.kind is FindingKind.REPAIRED for f in named)
        wrong = restored.image.pixels != image.pixels
        tally.wrong_pixels += bool(wrong[~restored.tamper_map.lost].any())


def wiped_areas() -> str:
    """Rectangles of one share overwritten: how many of the region's blocks come back, exactly or nearly."""
    roi = paper_rois()[2][1]
    lines = [
        (
            "**Repair**: a centred rectangle of share 2 overwritten with noise, hardened profile, "
            "region of IM-0001-0012. "
            "Touched blocks that came back exactly / approximately / not.\n"
        ),
        "| image | copies | 1 % of the share | 10 % | 25 % | all of it |",
        "|---|---|---|---|---|---|",
    ]
    rng = np.random.default_rng(5)
    for name, image in [*grey8().items(), *deep().items()]:
        scheme = RoiWatermark(carrier="bytes")
        made = scheme.protect(image, roi=roi)
        placement = ImageSecret.unpack(made.secret.data).placement
        what = f"{('none', 'one', 'two')[placement.mode]} of {'all blocks' if placement.whole else 'the region'}"
        cells = []
        for fraction in (0.01, 0.1, 0.25, 1.0):
            half = round(256 * fraction**0.5)
            data = np.frombuffer(made.parts[1].data, np.uint8).copy()
            size = 512 * 512 * image.pixels.dtype.itemsize
            grid = data[128 : 128 + size].reshape(512, -1)
            word = image.pixels.dtype.itemsize
            area = grid[256 - half : 256 + half, (256 - half) * word : (256 + half) * word]
            area[:] = rng.integers(0, 256, area.shape, dtype=np.uint8)
            restored = scheme.restore([made.parts[0], Part(2, data.tobytes())], made.secret)
            cells.append(_outcome(restored))
        lines.append(f"| {name} | {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _outcome(restored) -> str:
    touched, lost = (flags[0].reshape(32, 16, 32, 16).any(axis=(1, 3)) for flags in (
        restored.tamper_map.touched, restored.tamper_map.lost))  # fmt: skip
    approximate = {f.chunk for f in restored.findings if f.kind is FindingKind.APPROXIMATE and f.chunk is not None}
    more = [f for f in restored.findings if f.kind is FindingKind.APPROXIMATE and f.chunk is None]
    near = len(approximate) + sum(int(f.message.split()[0]) for f in more)
    return f"{int(touched.sum() - lost.sum())} / {near} / {int(lost.sum()) - near}"
