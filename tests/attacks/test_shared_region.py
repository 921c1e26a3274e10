"""Images of one region read one another in profile paper, and do not in profile hardened."""

from __future__ import annotations

from pathlib import Path

import pytest

from medveil.attacks.material import gather
from medveil.attacks.registry import load
from medveil.errors import UnsupportedError
from medveil.imaging.reader import read


def material(shared_data: Path, scheme: str, **options: str) -> object:
    files = sorted((shared_data / "chest_xray_nih/train/normal").glob("*.png"))[:12]
    pictures = [read(f).pixels[0][::2, ::2] for f in files]
    return gather(scheme, pictures[:4], options=options, known=pictures[4:])


def test_the_paper_falls_and_hardened_does_not(shared_data: Path) -> None:
    attack = load("shared-region")()
    paper = attack.run(material(shared_data, "roi-watermark", profile="paper"), seed=1)  # type: ignore[arg-type]
    assert paper.broken
    assert paper.scores["read"].value > 0.8
    hardened = attack.run(material(shared_data, "roi-watermark", profile="hardened"), seed=1)  # type: ignore[arg-type]
    assert not hardened.broken
    assert hardened.scores["above_guess"].value < 0.02


def test_other_schemes_have_no_such_keys(shared_data: Path) -> None:
    with pytest.raises(UnsupportedError, match="roi-watermark"):
        load("shared-region")().run(material(shared_data, "sealed"), seed=1)  # type: ignore[arg-type]
