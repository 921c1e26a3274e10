"""How the chaotic maps fail in floating point, as the paper prints them: in numbers and a plot."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from medveil.schemes.roi_watermark import float_maps
from medveil.schemes.roi_watermark.float_maps import FloatKey

SIZE = 512 * 512
EXAMPLE_KEYS = ("50192EC81EFD534ED830D3BE68F0B53F", "8437EBF46D99CB55A00D77FCDF143369")


def _numpy(function):
    """NumPy's vector mathematics library, asked for one value at a time."""

    def call(x: float) -> float:
        return float(function(np.full(8, x))[0])  # eight at once: NumPy takes its own vector code, not the C library's

    return call


def library_differences(count: int = 200_000) -> dict[str, float]:
    x = np.random.default_rng(7).random(count)
    return {
        "acos": float(np.mean([math.acos(v) for v in x] != np.arccos(x))),
        "cos": float(np.mean([math.cos(9 * v) for v in x] != np.cos(9 * x))),
        "sin": float(np.mean([math.sin(math.pi * v) for v in x] != np.sin(math.pi * x))),
    }


def divergence(keys: list[FloatKey], steps: int = 400) -> tuple[list[int], list[int]]:
    """Return for CCS and SSS the first step (1-based) at which two libraries' bytes differ; steps + 1 for never."""
    out: tuple[list[int], list[int]] = ([], [])
    for key in keys:
        pairs = (
            (
                float_maps.chebyshev_orbit(key, steps),
                float_maps.chebyshev_orbit(key, steps, _numpy(np.cos), _numpy(np.arccos)),
            ),
            (float_maps.sine_orbit(key, steps), float_maps.sine_orbit(key, steps, _numpy(np.sin))),
        )
        for found, (a, b) in zip(out, pairs, strict=True):
            differ = np.flatnonzero(float_maps.to_bytes(a) != float_maps.to_bytes(b))
            found.append(int(differ[0]) + 1 if differ.size else steps + 1)
    return out


def repeats_at(orbit: np.ndarray) -> tuple[int, int] | None:
    """Return (first step of the cycle, its length) where an orbit repeats, else None."""
    _, first, inverse = np.unique(orbit, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[inverse] != np.arange(orbit.size))
    if not again.size:
        return None
    start = int(first[inverse[again[0]]])
    return start + 1, int(again[0]) - start


def cycles(keys: list[FloatKey], *, chebyshev: bool) -> dict[str, float]:
    found = []
    for key in keys:
        orbit = float_maps.orbit(key, key.skipped + SIZE, chebyshev=chebyshev)
        found.append(repeats_at(orbit))
    repeating = [f for f in found if f is not None]
    return {
        "repeat inside one image": len(repeating) / len(keys),
        "end on a fixed point": sum(f[1] == 1 for f in repeating) / len(keys),
        "shortest cycle": min((f[1] for f in repeating), default=0),
    }


def report(count: int, folder: Path) -> str:
    rng = np.random.default_rng(99)
    keys = [FloatKey.from_half(rng.bytes(8)) for _ in range(count)]
    differ = library_differences()
    ccs_steps, sss_steps = divergence(keys[:100])
    lines = [
        "**The float maps** (`float_maps`, used for nothing else), 64-bit IEEE arithmetic.\n",
        "| failure | SSS | CCS |",
        "|---|---|---|",
        (
            f"| inputs on which Python's C library and NumPy differ | sin {differ['sin']:.2%} | acos "
            f"{differ['acos']:.1%}, "
            f"cos {differ['cos']:.2%} |"
        ),
        f"| step at which their bytes part, 100 keys (median; last) | {_steps(sss_steps)} | {_steps(ccs_steps)} |",
    ]
    sss, ccs = (cycles(keys, chebyshev=c) for c in (False, True))
    for name in sss:
        a, b = (f"{v[name]:.1%}" if name != "shortest cycle" else f"{v[name]:.0f}" for v in (sss, ccs))
        lines.append(
            f"| keys that {name} ({count} keys) | {a} | {b} |" if "cycle" not in name else f"| {name} | {a} | {b} |"
        )
    lines.append("\nThe paper's own example keys:\n")
    lines += ["| half key | map | u | what its orbit does |", "|---|---|---|---|"]
    for key in EXAMPLE_KEYS:
        for part, chebyshev in ((key[:16], False), (key[16:], True)):
            made = FloatKey.from_half(bytes.fromhex(part))
            found = repeats_at(float_maps.orbit(made, made.skipped + SIZE, chebyshev=chebyshev))
            what = "no repetition within an image"
            if found is not None:
                what = (
                    f"constant after {found[0]:,} steps"
                    if found[1] == 1
                    else f"cycle of {found[1]:,} from step {found[0]:,}"
                )
            lines.append(f"| {part} | {'CCS' if chebyshev else 'SSS'} | {made.u:g} | {what} |")
    plot(folder)
    lines.append("\n![How the float maps fail](roi-watermark/float-maps.png)")
    return "\n".join(lines)


def _steps(found: list[int], within: int = 400) -> str:
    parted = [step for step in found if step <= within]
    if len(parted) * 2 < len(found):
        return f"{len(parted)} of {len(found)} part within {within} steps"
    return f"{int(np.median(found))}; {max(found) if len(parted) == len(found) else f'some not within {within}'}"


def plot(folder: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), dpi=80)
    key = FloatKey.from_half(bytes.fromhex(EXAMPLE_KEYS[0][16:]))
    other = FloatKey.from_half(bytes.fromhex(EXAMPLE_KEYS[1][16:]))
    for made, label in ((key, "first key"), (other, "second key")):
        a = float_maps.chebyshev_orbit(made, 60)
        b = float_maps.chebyshev_orbit(made, 60, _numpy(np.cos), _numpy(np.arccos))
        axes[0].semilogy(range(1, 61), np.maximum(np.abs(a - b), 1e-17), ".-", label=label)
    axes[0].axhline(1e-14, color="black", lw=0.6, ls=":")
    axes[0].set(title="CCS by C library and by NumPy", xlabel="step", ylabel="difference (1e-14: one byte)")
    axes[0].legend(fontsize=7)
    bad = FloatKey.from_half(bytes.fromhex(EXAMPLE_KEYS[1][16:]))
    orbit = float_maps.orbit(bad, 30_000, chebyshev=True)
    axes[1].plot(orbit, ",")
    axes[1].set(title="CCS, the paper's second key (u = 5)", xlabel="step", ylabel="x")
    stream = float_maps.stream(bad, SIZE, chebyshev=True).reshape(512, 512)
    axes[2].imshow(stream, cmap="gray", vmin=0, vmax=255)
    axes[2].set(title="B of that key as a picture", xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(folder / "float-maps.png")
    plt.close(figure)
