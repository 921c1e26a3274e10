"""From a scanned page back to a share: find the four marks, undo the perspective, read each pixel and the QR code.

The bits come from the mean of each pixel's middle, against the threshold half way between the darkest and the
lightest tenth of the picture. A scan is only good when every bit is: the share's digest, inside the signed statement
of its QR code, says whether it is. With a bit wrong the share is refused as verified, and can still be stacked
insecurely, marked as such.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import FormatError, InputError, LimitError, MissingExtraError
from medveil.schemes.visual.admission import claimed
from medveil.schemes.visual.carriers import ShareFile
from medveil.schemes.visual.envelope import MAX_ENVELOPE, Envelope
from medveil.schemes.visual.sheet import mark_centres, opencv

MAX_SCAN: Final = 1 << 28
"""Most samples of a scan."""
DOTS: Final = 8
"""Dots a pixel of the rectified picture."""

Picture = npt.NDArray[np.uint8]


def read_scan(page: Picture, session: bytes = b"") -> ShareFile:
    """Return the share on a scanned page.

    page: uint8 (rows, columns) or (rows, columns, 3). session: the encoded signing session, where the QR code holds a
    bare proof of the session form. The result is verified like any other share; here nothing is.
    Raises InputError for another type, LimitError past 2^28 samples, FormatError where marks or QR code are not found,
    MissingExtraError without the extra `print`.
    """
    if page.dtype != np.uint8 or page.ndim not in (2, 3) or 0 in page.shape or page.shape[2:] not in ((), (3,)):
        raise InputError(f"a scan is uint8 (rows, columns[, 3]), not {page.dtype} {page.shape}")
    if page.size > MAX_SCAN:
        raise LimitError(f"a scan of {page.size} samples is larger than the {MAX_SCAN} allowed: scan at a lower rate")
    envelope = _envelope(page, session)
    statement = claimed(_shell(envelope))
    colour = statement.channels == 3
    if colour and page.ndim == 2:
        raise FormatError("the share is in colour and its scan is grey: scan it in colour")
    if not colour and page.ndim == 3:
        page = np.asarray(np.rint(page.mean(axis=2)), np.uint8)
    flat = _rectify(page, statement.height, statement.width)
    return ShareFile(_bits(flat, statement.height, statement.width) * np.uint8(255), envelope, b"")


def _shell(envelope: Envelope) -> ShareFile:
    return ShareFile(np.zeros((1, 1), np.uint8), envelope, b"")


def _envelope(page: Picture, session: bytes) -> Envelope:
    try:
        import zxingcpp
    except ImportError:
        raise MissingExtraError("scanning shares", "print") from None
    for found in zxingcpp.read_barcodes(page):
        if found.format != zxingcpp.BarcodeFormat.QRCode:
            continue
        data = bytes(found.bytes)
        if len(data) <= MAX_ENVELOPE:
            envelope = Envelope.decode(data)
            return envelope if envelope.session or not session else Envelope(envelope.proof, session)
    raise FormatError("no QR code was found on the page: the share carries no proof and is unverified; scan it again")


def _rectify(page: Picture, rows: int, columns: int) -> Picture:
    """Return the picture alone, `DOTS` dots a pixel."""
    cv2 = opencv()
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    settings = cv2.aruco.DetectorParameters()
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    corners, ids, _ = cv2.aruco.ArucoDetector(dictionary, settings).detectMarkers(page)
    found: dict[int, Any] = {}
    for number, quad in zip([] if ids is None else ids.reshape(-1), corners, strict=True):
        if 0 <= int(number) <= 3:
            found[int(number)] = quad.reshape(4, 2)
    if len(found) != 4:
        raise FormatError(f"{len(found)} of the four alignment marks were found: scan the whole page, flat and sharp")
    from medveil.schemes.visual.sheet import mark_side

    half = mark_side(rows, columns) / 2
    around = np.array([(-half, -half), (half, -half), (half, half), (-half, half)])
    target = np.concatenate([centre + around for centre in mark_centres(rows, columns)])
    # a dot's centre lies at its whole coordinate in OpenCV, so edges lie half a dot off
    source = np.concatenate([found[number] for number in range(4)])
    matrix, _ = cv2.findHomography(source.astype(np.float64), target * DOTS - 0.5, 0)
    if matrix is None:
        raise FormatError("the alignment marks do not lie in one plane: scan the page flat")
    flat = cv2.warpPerspective(page, matrix, (columns * DOTS, rows * DOTS), flags=cv2.INTER_LINEAR)
    return np.asarray(flat, np.uint8)


def _bits(flat: Picture, rows: int, columns: int) -> Picture:
    shape = (rows, DOTS, columns, DOTS, *flat.shape[2:])
    inner = slice(DOTS // 4, DOTS - DOTS // 4)
    means = flat.reshape(shape)[:, inner, :, inner].mean(axis=(1, 3))
    low, high = np.percentile(means, (10, 90), axis=(0, 1))
    return np.asarray(means > (low + high) / 2).astype(np.uint8)
