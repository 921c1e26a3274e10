"""Shares on paper and back: marks, QR code, rotation, perspective, blur and noise of a scanner."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from tests.schemes.visual.visual_material import collateral, image, policy, provider

from medveil.errors import FormatError, InputError, LimitError, TamperedError
from medveil.schemes.visual import Visual, admission, carriers, recovery, sheet
from medveil.schemes.visual.scan import read_scan

cv2 = pytest.importorskip("cv2", reason="needs the extra print")
pytest.importorskip("segno", reason="needs the extra print")
pytest.importorskip("reportlab", reason="needs the extra print")
zxingcpp = pytest.importorskip("zxingcpp", reason="needs the extra print")


def dealt(name: str, **options: Any) -> list[carriers.ShareFile]:
    options = {"provider": provider(), "lossless": False} | options
    return [carriers.read(part.data) for part in Visual(**options).protect(image(name)).parts]


def scanned(page: np.ndarray, degrees: float = 2.3, blur: float = 1.2, noise: float = 8.0) -> np.ndarray:
    """A page on a scanner's glass: turned, seen slightly from the side, unsharp, noisy, with less contrast."""
    white = (255,) * 3
    page = cv2.copyMakeBorder(page, 150, 150, 150, 150, cv2.BORDER_CONSTANT, value=white)
    height, width = page.shape[:2]
    turn = np.vstack([cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0), [0, 0, 1]])
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    seen = corners + np.array([[12, 7], [-18, 3], [-5, -14], [6, -3]], np.float32)
    out = cv2.warpPerspective(
        page, cv2.getPerspectiveTransform(corners, seen) @ turn, (width, height), borderValue=white
    )
    out = cv2.GaussianBlur(out, (0, 0), blur).astype(float) * 0.8 + 20
    return np.clip(out + np.random.default_rng(0).normal(0, noise, out.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", ["us-breast-benign.png", "mr-brain-glioma.jpg"])
def test_a_scanned_share_is_exact_verified_and_can_be_xored(name: str) -> None:
    shares = dealt(name)
    session = shares[0].envelope.session  # type: ignore[union-attr]
    back = [read_scan(scanned(sheet.page_image(share)), session) for share in shares]
    for share, other in zip(shares, back, strict=True):
        assert np.array_equal(share.pixels >> 7, other.pixels >> 7)
    pytest.importorskip("dcap_qvl", reason="needs the extra attest")
    admitted = admission.by_attestation(back, policy(), collateral=collateral, now=int(time.time()))
    bits = [(share.pixels >> 7).astype(np.uint8) for share in admitted.shares.values()]
    assert np.array_equal(recovery.xor(bits), recovery.xor([(s.pixels >> 7).astype(np.uint8) for s in shares]))


def test_a_bad_scan_is_refused_not_guessed() -> None:
    share = dealt("us-breast-benign.png")[0]
    session = share.envelope.session  # type: ignore[union-attr]
    page = sheet.page_image(share)
    hidden, cut = page.copy(), page.copy()
    hidden[: page.shape[0] // 8] = 255
    cut[-page.shape[0] // 4 :] = 255
    with pytest.raises(FormatError, match="alignment marks"):
        read_scan(hidden, session)
    with pytest.raises(FormatError, match="QR code"):
        read_scan(cut, session)
    dirty = page.copy()
    middle = page.shape[0] // 2
    dirty[middle - 200 : middle - 120, 300:380] = 0
    with pytest.raises(TamperedError, match="digest"):
        admission.check_consistent(read_scan(dirty, session))
    with pytest.raises(InputError):
        read_scan(page.astype(np.uint16))
    with pytest.raises(LimitError):
        read_scan(np.broadcast_to(np.uint8(255), (1 << 15, 1 << 15)))


def test_the_pdf_has_a_page_a_share() -> None:
    shares = dealt("us-breast-benign.png", threshold=(2, 3))
    data = sheet.pdf(shares)
    assert data.startswith(b"%PDF")
    assert data.count(b"/Type /Page\n") == 3
    assert sheet.pdf(shares) == data, "the same shares give the same file"


def test_a_quote_does_not_fit_and_is_not_cut() -> None:
    share = dealt("us-breast-benign.png", proof="quote")[0]
    with pytest.raises(LimitError, match="QR code"):
        sheet.pdf([share])
    with pytest.raises(InputError):
        sheet.pdf([])
