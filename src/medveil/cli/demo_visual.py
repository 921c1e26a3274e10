"""The demo's third part: shares that show a picture when stacked, and a forged share that is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medveil.errors import RefusedError, UnrecoverableError

if TYPE_CHECKING:
    from medveil.cli.demo_page import Panel, Study
    from medveil.imaging.image import MedicalImage

DEALT, FORGED = "us-breast-benign.png", "us-breast-malignant.png"
THIRDS = "xray-chest-1024.png"
_SIDE = 384  # of the picture of the three shares, in pixels


@dataclass(frozen=True, slots=True)
class Story:
    """One image's story; `equal`: the file came back byte for byte and, where there was a forgery, it was refused."""

    name: str
    equal: bool
    study: Study


def tell(step: Callable[[str, str], None]) -> list[Story]:
    """Deal two images, stack their shares, and try to pass a forged share off; returns the pictures."""
    return [_two_of_two(step), _two_of_three(step)]


def _two_of_two(step: Callable[[str, str], None]) -> Story:
    """The paper's scheme: stack, XOR, and a second share made to show another image."""
    import numpy as np

    from medveil.cli.demo_page import Panel
    from medveil.imaging.resampling import resize
    from medveil.imaging.windowing import to_display
    from medveil.schemes import registry
    from medveil.schemes.visual import admission, carriers, halftone, recovery

    image, other = _load(DEALT), _load(FORGED)
    shown = to_display(image)
    parts, secret = registry.protect(image, "visual", threshold=(2, 2))
    first, second = (carriers.read(part.data) for part in parts)
    one, two = ((share.pixels >> 7).astype(np.uint8) for share in (first, second))
    wanted = halftone.halftone(resize(to_display(other), *shown.shape[:2]))
    forged = one ^ wanted ^ np.uint8(1)  # equal to share 1 where the other image is white
    fake = carriers.ShareFile(
        np.asarray(forged * np.uint8(254) | second.pixels & np.uint8(1), np.uint8), second.envelope, second.layer
    )
    words = _refusal(lambda: admission.check_consistent(fake))  # anybody sees it, and so does the owner
    if not _refusal(lambda: _admit(secret, [first, fake])):
        words = ""
    restored = registry.restore(parts, secret)
    equal = getattr(restored.image, "original", None) == image.original and words != ""
    step("shares", f"{DEALT}: two pictures of noise, which stacked show the image")
    step("forged", f"a forged share that would have shown another patient's tumour: {words or 'NOT REFUSED'}")
    rows = [
        [
            Panel(shown, "the original", "halftoned and dealt to two shares"),
            Panel(one * np.uint8(255), "share 1", "noise: says nothing about the image"),
            Panel(two * np.uint8(255), "share 2", "noise: says nothing about the image"),
        ],
        [
            Panel(recovery.recover([one, two], 2, 2, "stack"), "stacked", "as two transparencies: half of the light"),
            Panel(recovery.recover([one, two], 2, 2, "xor"), "XOR", "the halftone, exactly"),
            Panel(recovery.recover([one, two], 2, 2), "descreened", "what an eye does from a distance"),
            _original(restored.image, equal=getattr(restored.image, "original", None) == image.original),
        ],
        [
            Panel(one * np.uint8(255), "share 1", "as it was dealt"),
            Panel(forged * np.uint8(255), "a forged share 2", "whoever holds share 1 can make it", "bad"),
            Panel(
                recovery.recover([one, forged], 2, 2),
                "what it would have shown",
                f"refused before recovery: {words}" if words else "NOT REFUSED",
                "bad",
            ),
        ],
    ]
    return Story(DEALT, equal, _study(DEALT, "2 of 2, as paper 000", rows))


def _two_of_three(step: Callable[[str, str], None]) -> Story:
    import numpy as np

    from medveil.cli.demo_page import Panel
    from medveil.imaging.windowing import to_display
    from medveil.schemes import registry
    from medveil.schemes.visual import carriers, recovery

    image = _load(THIRDS)
    parts, secret = registry.protect(image, "visual", threshold=(2, 3), longest_side=_SIDE)
    bits = [(carriers.read(part.data).pixels >> 7).astype(np.uint8) for part in parts]
    restored = registry.restore(parts[1:], secret)
    equal = getattr(restored.image, "original", None) == image.original
    step("shares", f"{THIRDS}: any two of three shares, {'identical' if equal else 'DIFFERENT'} without the first")
    rows = [
        [Panel(to_display(image), "the original", "the picture is shrunk for print; the file is not")]
        + [Panel(share * np.uint8(255), f"share {i}", "noise") for i, share in enumerate(bits, start=1)],
        [
            Panel(
                recovery.recover(bits[1:], 2, 3, "stack"), "shares 2 and 3 stacked", "contrast 1/3, the best there is"
            ),
            Panel(recovery.recover(bits[1:], 2, 3), "shares 2 and 3 counted", "what a computer sees in the same two"),
            Panel(recovery.recover(bits, 2, 3, "count"), "all three counted", "the halftone, exactly"),
            _original(restored.image, equal=equal),
        ],
    ]
    return Story(THIRDS, equal, _study(THIRDS, "2 of 3", rows))


def _load(name: str) -> MedicalImage:
    from medveil.imaging import samples
    from medveil.imaging.reader import read

    return read(samples.load(name), name=name)


def _admit(secret: Any, shares: Sequence[Any]) -> object:
    """Verify shares as their owner does."""
    from medveil.schemes.visual.secret import OwnerRecord

    return OwnerRecord.unpack(secret.data).admit(shares)


def _refusal(call: Callable[[], object]) -> str:
    """Return the words of the refusal, or nothing where there was none."""
    try:
        call()
    except (RefusedError, UnrecoverableError) as error:
        return str(error)
    return ""


def _original(image: Any, *, equal: bool) -> Panel:
    from medveil.cli.demo_page import Panel
    from medveil.imaging.windowing import to_display

    words = "byte for byte the original, from the lossless layer of the same shares" if equal else "not the original"
    return Panel(to_display(image), "restored", words, "good" if equal else "bad")


def _study(name: str, which: str, rows: list[list[Panel]]) -> Study:
    from medveil.cli.demo_page import Study
    from medveil.imaging.samples import SAMPLES

    sample = next(s for s in SAMPLES if s.name == name)
    return Study(
        title=f"{name}, visual cryptography {which}",
        source=f"Shares without key; here a SIMULATED platform vouches for them. {sample.shows}. "
        f"Source: {sample.source}; licence {sample.licence}; credit {sample.credit}.",
        rows=rows,
    )
