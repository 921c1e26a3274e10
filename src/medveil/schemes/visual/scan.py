"""From a scanned page back to a share: find the four marks, undo the perspective, read each pixel and the QR code.

The bits come from the mean of each pixel's middle, against the threshold half way between the darkest and the
lightest tenth of the picture. A scan is only good when every bit is: the share's digest, inside the signed statement
of its QR code, says whether it is. With a bit wrong the share is refused as verified, and can still be stacked
insecurely, marked as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.attestation.statement import Statement
from medveil.errors import FormatError, InputError, LimitError, MissingExtraError, TamperedError
from medveil.schemes.visual.admission import check_consistent, claimed
from medveil.schemes.visual.carriers import ShareFile
from medveil.schemes.visual.envelope import MAX_ENVELOPE, Envelope
from medveil.schemes.visual.sheet import DOTS_A_PIXEL, mark_centres, opencv

MAX_SCAN: Final = 1 << 29
"""Most samples of a scan."""
DOTS: Final = 8
"""Dots a pixel of the rectified picture."""
LEAST_DOTS: Final = 2.0
"""Dots a pixel below which a scan is not even tried."""

MAX_PDF: Final = 100 << 20
"""Largest PDF of scans, in bytes."""
MAX_PAGES: Final = 64
"""Most pages of a PDF of scans."""
_PDF_DPI: Final = 600.0

Picture = npt.NDArray[np.uint8]


def read_pages(path: Path) -> Iterator[Picture]:
    """Give the pages of a scan: a picture of any kind that medveil reads, or each page of a PDF.

    A PDF's page is drawn with the dots of the scan inside, at most 600 an inch. Raises InputError where the file is
    none of these, LimitError past 100 MiB, `MAX_PAGES` pages or 2^29 samples, MissingExtraError without the extra
    `print`.
    """
    from medveil.attestation.files import read_bounded
    from medveil.imaging import reader
    from medveil.imaging.windowing import to_display

    data = read_bounded(path, MAX_PDF)
    if data.startswith(b"%PDF-"):
        yield from _pdf_pages(data)
    else:
        yield to_display(reader.read(data, name=path.name))


def _pdf_pages(data: bytes) -> Iterator[Picture]:
    try:
        import pypdfium2
    except ImportError:
        raise MissingExtraError("scans in PDF files", "print") from None
    try:
        document = pypdfium2.PdfDocument(data)
        if len(document) > MAX_PAGES:
            raise LimitError(f"a PDF of {len(document)} pages is more than the {MAX_PAGES} that a set of shares has")
        for page in document:
            scale = _dots(page, pypdfium2.raw.FPDF_PAGEOBJ_IMAGE) / 72
            if page.get_width() * page.get_height() * scale * scale * 3 > MAX_SCAN:
                raise LimitError("a page of the PDF is larger than a sheet of shares: scan one page of A4 at a time")
            yield np.ascontiguousarray(page.render(scale=scale, rev_byteorder=True).to_numpy()[..., :3])
    except pypdfium2.PdfiumError as error:
        raise InputError(f"the PDF cannot be read: {error}") from None


def _dots(page: Any, image: int) -> float:
    """Return the dots an inch to draw a page with: those of the scan inside, or for anything drawn the finest."""
    found = [meta.horizontal_dpi for meta in (each.get_metadata() for each in page.get_objects(filter=[image]))]
    return min(max(found), _PDF_DPI) if len(found) == 1 and max(found) > 0 else _PDF_DPI


def read_scan(page: Picture, session: bytes = b"") -> ShareFile:
    """Return the share on a scanned page.

    page: uint8 (rows, columns) or (rows, columns, 3). session: the encoded signing session, where the QR code holds a
    bare proof of the session form. The result is verified like any other share; here nothing is.
    Raises InputError for another type, LimitError past 2^29 samples, FormatError where marks or QR code are not found
    or the scan is too coarse, MissingExtraError without the extra `print`.
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


def read_verified(page: Picture, session: bytes = b"") -> tuple[ShareFile, Statement]:
    """Return the share on a scanned page and its statement, whose digest every pixel confirms.

    Who made it is a matter of attestation, as for every share. Raises as `read_scan` and
    `admission.check_consistent`; TamperedError where a pixel was read wrongly or is not what was printed.
    """
    share = read_scan(page, session)
    try:
        return share, check_consistent(share)
    except TamperedError as error:
        raise TamperedError(f"{error}; on paper, a speck is enough: clean the glass, scan flat and finer") from None


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
    dots = float(np.linalg.norm(found[1].mean(axis=0) - found[0].mean(axis=0))) / float(target[4:8].mean(axis=0)[0] -
        target[:4].mean(axis=0)[0])  # fmt: skip
    if dots < LEAST_DOTS:
        raise FormatError(
            f"the scan has {dots:.1f} dots for each pixel of the share and needs {DOTS_A_PIXEL}: scan at "
            f"{DOTS_A_PIXEL / dots:.1f} times as many dots an inch"
        )
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
