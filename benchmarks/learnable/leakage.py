"""The attack figures of the design, measured: every scheme, every M, every option."""

from __future__ import annotations

from typing import Any

from benchmarks.learnable.images import MRI, XRAY, Set, load
from medveil.attacks import registry
from medveil.attacks.base import AttackResult, Material
from medveil.attacks.learned_reconstruction import LearnedReconstruction
from medveil.attacks.material import gather
from medveil.crypto.prg import insecure_seeded

SEED = 1
TOLERANCE = 0.03


def material(scheme: str, images: Set, gallery: Set | None = None, **more: Any) -> Material:
    options = more.pop("options", {"grey": "three"})
    where = gallery if gallery is not None else images
    at = {name: i for i, name in enumerate(where.names)}
    return gather(
        f"learnable-{scheme}",
        images.pictures,
        options=options,
        groups=images.groups,
        gallery=where.pictures,
        gallery_index=[at[name] for name in images.names],
        gallery_groups=where.groups,
        rng=insecure_seeded(SEED, "benchmark of leakage"),
        **more,
    )


def run(attack: str, found: Material) -> AttackResult:
    return registry.load(attack)().run(found, seed=SEED)


def cell(result: AttackResult, score: str) -> str:
    s = result.scores[score]
    return f"{s.value:.3f} [{s.low:.3f}, {s.high:.3f}]"


def reproduced(*, quick: bool) -> str:
    """The figures of the design page beside ours."""
    n, many = (24, 120) if quick else (120, 480)
    mri, rays = load(MRI, "test"), load(XRAY, "test")
    some = mri.spread(n)
    rows: list[tuple[str, float, float, str]] = []

    def add(what: str, wanted: float, result: AttackResult, score: str) -> None:
        rows.append((what, wanted, result.scores[score].value, cell(result, score)))

    add("SKK, leading bit, SSIM, MRI", 0.857, run("leading-bit", material("skk", some)), "ssim")
    m4 = material("smoothed", some, options={"block": 4, "grey": "three"})
    add("smoothed M = 4, leading bit, SSIM, MRI", 0.153, run("leading-bit", m4), "ssim")
    add("smoothed M = 4, minimum difference, SSIM, MRI", 0.148, run("minimum-difference", m4), "ssim")
    whole = mri.spread(many)
    linked = run("linkage", material("smoothed", whole, options={"block": 4, "grey": "three"}))
    add(f"smoothed M = 4, linkage top-1 among {len(whole.pictures)} MRIs", 0.98, linked, "top1")
    for block in (4, 6, 8):
        found = run("linkage", material("smoothed", rays, options={"block": block, "grey": "three"}))
        add(f"smoothed M = {block}, linkage top-1 among {len(rays.pictures)} X-rays", 1.0, found, "top1")
    again = run("multi-encryption", material("smoothed", mri.spread(10 if quick else 60), again=31))
    add("smoothed M = 4, one encryption, SSIM, MRI", 0.21, again, "ssim of 1")
    add("smoothed M = 4, 32 encryptions, SSIM, MRI", 0.63, again, "ssim")
    known = run("tanaka-known-plaintext", material("tanaka", mri.spread(20), known=mri.pictures[7:8]))
    add("Tanaka, 64 known blocks, samples exact", 1.0, known, "exact")
    lines = ["| figure | design | measured [95 %] | within 0.03 |", "|---|---|---|---|"]
    for what, wanted, value, said in rows:
        lines.append(f"| {what} | {wanted:g} | {said} | {'yes' if abs(value - wanted) <= TOLERANCE else 'NO'} |")
    return "\n".join(lines)


def learned(*, quick: bool, other: bool) -> str:
    """The U-Net on smoothed, M = 4: trained on images of the same kind, or of another."""
    n, steps = (12, 60) if quick else (48, 300)
    some = load(MRI, "test").spread(n)
    what = "chest X-rays" if other else "brain MR, other images"
    public = load(XRAY, "train").sized(224).pictures if other else load(MRI, "train").spread(400).pictures
    attack = LearnedReconstruction(steps=steps, width=32, batch=4)
    found = material("smoothed", some, options={"block": 4, "grey": "three"}, public=public)
    result = attack.run(found, seed=SEED)
    save(f"learned-{'other' if other else 'same'}-domain.png", result)
    chance = result.scores["ssim"].chance
    return (
        "| public images | SSIM | chance | NCC | seconds |\n|---|---|---|---|---|\n"
        f"| {len(public)} {what}; {steps} steps of 4, {n} attacked | {cell(result, 'ssim')} | {chance:.3f} | "
        f"{cell(result, 'ncc')} | {result.seconds:.0f} |"
    )


def save(name: str, result: AttackResult) -> None:
    """Put an attack's picture beside the page."""
    from benchmarks.learnable.figures import FOLDER
    from medveil.imaging.raster import encode_png

    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / name).write_bytes(encode_png(next(iter(result.pictures.values())), level=9))


def keys_and_puzzles(*, quick: bool) -> str:
    """What breaks the block schemes: known pictures, and the jigsaw."""
    n = 3 if quick else 8
    lines = ["| attack | data | measure | value [95 %] | chance | SSIM |", "|---|---|---|---|---|---|"]
    for data, name in ((MRI, "MRI"), (XRAY, "X-ray")):
        whole = load(data, "test")
        some, known = whole.spread(n), load(data, "train").spread(4).pictures
        cases = (
            ("tanaka-known-plaintext", "tanaka", "exact", {"known": known[:1]}),
            ("patchwise-known-plaintext", "patchwise", "exact", {"known": known}),
            ("jigsaw", "etc", "neighbours", {}),
        )
        for attack, scheme, score, more in cases:
            found = run(attack, material(scheme, some, options={}, **more))
            s = found.scores[score]
            looks = found.scores["ssim"].value
            lines.append(f"| {attack} | {name} | {score} | {cell(found, score)} | {s.chance:.3f} | {looks:.3f} |")
            if attack == "jigsaw" and data == XRAY:
                save("jigsaw.png", found)
    return (
        f"{n} pictures of each set in one channel; one known picture for tanaka, four for patchwise.\n\n"
        + "\n".join(lines)
    )


def every_scheme(*, quick: bool) -> str:
    """All schemes, and smoothed by M, on MRI and X-rays: looks and identity."""
    n = 16 if quick else 60
    lines = [
        "| scheme | data | leading bit SSIM (chance) | linkage top-1 | same patient top-1 (chance) |",
        "|---|---|---|---|---|",
    ]
    cases: list[tuple[str, dict[str, Any]]] = [("skk", {})]
    cases += [("smoothed", {"block": m}) for m in (3, 4, 5, 6, 7, 8)]
    cases += [("tanaka", {}), ("ele", {}), ("etc", {}), ("patchwise", {})]
    for data, name in ((MRI, "MRI"), (XRAY, "X-ray")):
        gallery = load(data, "test")
        some = gallery.spread(n)
        for scheme, options in cases:
            found = material(scheme, some, gallery, options={"grey": "three", **options})
            shown, linked = run("leading-bit", found), run("linkage", found)
            same = "-"
            if data == XRAY:
                person = run("same-patient", material(scheme, gallery, options={"grey": "three", **options}))
                same = f"{cell(person, 'top1')} ({person.scores['top1'].chance:.3f})"
            chance = shown.scores["ssim"].chance
            told = f"{scheme} {' '.join(f'M = {v}' for v in options.values())}".strip()
            looks = f"{shown.scores['ssim'].value:.3f} ({chance:.3f})"
            lines.append(f"| {told} | {name} | {looks} | {cell(linked, 'top1')} | {same} |")
    return f"{n} images of each set, linked among all of its test images (480 MRIs, 120 X-rays).\n\n" + "\n".join(lines)


def every_option(*, quick: bool) -> str:
    """What the options that the paper leaves open change; at 64 x 64, where linkage is not complete."""
    n = 40 if quick else 240
    some = load(MRI, "test").spread(n).sized(64)
    lines = ["| option (others at their defaults) | leading bit SSIM | linkage top-1 |", "|---|---|---|"]
    cases: dict[str, dict[str, Any]] = {
        "defaults: one channel": {},
        "grey three": {"grey": "three"},
        "grey three, choice channel": {"grey": "three", "choice": "channel"},
        "grey three, over block": {"grey": "three", "over": "block"},
        "rounding nearest": {"rounding": "nearest"},
        "filters mean": {"filters": "mean"},
        "filters median": {"filters": "median"},
        "filters maximum,minimum": {"filters": "maximum,minimum"},
        "per dataset": {"per": "dataset"},
        "block 5, edge partial": {"block": 5},
        "block 5, edge replicate": {"block": 5, "edge": "replicate"},
    }
    for what, options in cases.items():
        found = material("smoothed", some, options=options)
        shown, linked = run("leading-bit", found), run("linkage", found)
        lines.append(f"| {what} | {cell(shown, 'ssim')} | {cell(linked, 'top1')} |")
    return f"smoothed, M = 4, {n} brain MR slices of 64 x 64, each looked for among all of them.\n\n" + "\n".join(lines)
