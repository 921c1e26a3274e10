"""The demo's second half: two images under the ROI crypto-watermark, one cloud lying, the blocks found and mended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medveil.cli.demo_page import Study
    from medveil.schemes.base import Restored

# rows top:bottom, columns left:right of the region of interest, and of the patch that the second cloud changes
IMAGES = (
    ("us-breast-malignant.png", (40, 80, 150, 190), (88, 100, 124, 148)),
    ("ct-thorax.dcm", (176, 176, 320, 336), (208, 224, 256, 280)),
)


@dataclass(frozen=True, slots=True)
class Story:
    """One image's story; `equal`: whether the file came back byte for byte."""

    name: str
    equal: bool
    blocks: int
    study: Study


def tell(step: Callable[[str, str], None]) -> list[Story]:
    """Protect two images in two shares, change one share, restore; returns the pictures."""
    stories = [_tell(*image) for image in IMAGES]
    for story in stories:
        state = "identical" if story.equal else "DIFFERENT"
        step("watermark", f"{story.name}: a cloud changed its share; {story.blocks} blocks found and mended, {state}")
    return stories


def _tell(name: str, region: tuple[int, int, int, int], patch: tuple[int, int, int, int]) -> Story:
    from medveil.imaging import samples
    from medveil.imaging.raster import encode_png
    from medveil.imaging.reader import read
    from medveil.imaging.roi import Rectangle
    from medveil.schemes import registry
    from medveil.schemes.base import Part

    image = read(samples.load(name), name=name)
    parts, secret = registry.protect(image, "roi-watermark", roi=(Rectangle(*region),))
    first, second = (read(part.data).pixels[0] for part in parts)
    changed = second.copy()
    top, left, bottom, right = patch
    changed[top:bottom, left:right] = changed[top:bottom, left:right][::-1, ::-1]
    restored = registry.restore([parts[0], Part(2, encode_png(changed))], secret)
    equal = getattr(restored.image, "original", None) == image.original
    touched = 0 if restored.tamper_map is None else int(restored.tamper_map.touched.sum()) // 256
    rows = _rows(image, Rectangle(*region), first, second, changed, restored, equal=equal)
    return Story(name, equal, touched, _study(name, rows, restored))


def _rows(
    image: Any, region: Any, first: Any, second: Any, changed: Any, restored: Restored, *, equal: bool
) -> list[list[Any]]:
    import numpy as np

    from medveil.cli.demo_page import Panel, overlay
    from medveil.imaging.image import MedicalImage
    from medveil.imaging.roi import mask
    from medveil.imaging.windowing import to_display
    from medveil.schemes.tamper_pictures import overlay as outlined

    shown = to_display(image)
    inside = mask((region,), image.rows, image.columns)
    touched = np.asarray(outlined(restored), np.uint8)
    return [
        [
            Panel(overlay(shown, inside, colour=(40, 120, 220)), "the original", "the region of interest is marked"),
            Panel(touched, "what the second cloud touched", "found to the 16 x 16 block", "bad"),
            Panel(
                to_display(restored.image) if isinstance(restored.image, MedicalImage) else shown,
                "restored",
                "byte for byte the original: the blocks came back from copies in the other share"
                if equal
                else "changed",
                "good" if equal else "bad",
            ),
        ],
        [
            Panel(_eight_bits(first), "what the first cloud sees", "the high halves"),
            Panel(_eight_bits(second), "what the second cloud sees", "the low halves"),
            Panel(
                _eight_bits(changed), "what it gives back", "a patch turned upside down: nobody sees it by eye", "bad"
            ),
        ],
    ]


def _study(name: str, rows: list[list[Any]], restored: Restored) -> Study:
    from medveil.cli.demo_page import Study
    from medveil.imaging.samples import SAMPLES

    sample = next(s for s in SAMPLES if s.name == name)
    said = list(dict.fromkeys(f"{f.kind.value}: {f.message}" for f in restored.findings))
    return Study(
        title=f"{name}, ROI crypto-watermark",
        source=f"Two shares in two clouds, lossless (paper 003, hardened profile). {sample.shows}. "
        f"Source: {sample.source}; licence {sample.licence}; credit {sample.credit}.",
        rows=rows,
        findings=said,
    )


def _eight_bits(pixels: Any) -> Any:
    """Return the high byte of a share, as a viewer would show it."""
    import numpy as np

    return (pixels >> 8).astype(np.uint8) if pixels.dtype.itemsize > 1 else pixels
