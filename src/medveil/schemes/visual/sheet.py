"""Shares on paper: one page a share, with four alignment marks and its proof as a QR code.

The picture is drawn as one black or white square a pixel (colour shares as cyan, magenta and yellow ink where a bit
is 0, which is what 0 light in red, green and blue is). Marks of the ArUco dictionary 4x4_50, ids 0 to 3 clockwise from
the top left, stand so that their inner corners touch the picture's corners at a distance of `MARK_GAP` of the mark's
side; pages printed with one setting lie exactly over each other. Marks, QR code and caption are public.

A QR code holds 2,331 bytes at level M. What is longer (a proof with its session or quote) is never cut: the page
carries the bare proof of the session form, and says that the session's file is needed; a quote does not fit.
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, LimitError, MissingExtraError
from medveil.schemes.visual.admission import claimed
from medveil.schemes.visual.carriers import ShareFile
from medveil.schemes.visual.envelope import Envelope

MARK_CELLS: Final = 6
"""Modules along a mark's side: 4 of content and a black border."""
MARK_SHARE: Final = 0.08
"""A mark's side, as part of the picture's longer side."""
MARK_GAP: Final = 0.5
"""Distance from a mark's nearest corner to the picture's corner, along both axes, in sides of the mark."""
MAX_QR: Final = 1247
"""Most bytes of a QR code that readers take reliably from paper."""

BY_HAND_MM: Final = 0.5
"""Side of a pixel below which two transparencies cannot be laid on each other by hand."""
DOTS_A_PIXEL: Final = 4
"""Dots a pixel that a scan should have."""

_MARGIN_MM: Final = 15.0
_QR_MM: Final = 42.0
_PAGE_MM: Final = (210.0, 297.0)


def qr_payload(share: ShareFile) -> bytes:
    """Return what a share's QR code carries: its envelope, without the session where that does not fit.

    Raises InputError where it has no proof and LimitError where even the bare proof does not fit.
    """
    if share.envelope is None:
        raise InputError("the share carries no proof: there is nothing to print beside it")
    for candidate in (share.envelope, Envelope(share.envelope.proof)):
        if len(candidate.encode()) <= MAX_QR:
            return candidate.encode()
    raise LimitError(
        f"the proof has {len(share.envelope.proof)} bytes and a QR code holds {MAX_QR}: protect with proof=session"
    )


def mark_centres(rows: int, columns: int) -> npt.NDArray[np.float64]:
    """Return the centres of marks 0 to 3 in pixels of the share, (x, y), origin at its top left corner; (4, 2)."""
    offset = mark_side(rows, columns) * (MARK_GAP + 0.5)
    return np.array(
        [
            (-offset, -offset),
            (columns + offset, -offset),
            (columns + offset, rows + offset),
            (-offset, rows + offset),
        ]
    )


def mark_side(rows: int, columns: int) -> float:
    """Return a mark's side in pixels of the share."""
    return MARK_SHARE * max(rows, columns)


def mark_cells(number: int) -> npt.NDArray[np.bool_]:
    """Return the black modules of mark `number` (0 to 3), bool (6, 6). Raises MissingExtraError without OpenCV."""
    cv2 = opencv()
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    drawn = cv2.aruco.generateImageMarker(dictionary, number, MARK_CELLS)
    return np.asarray(np.asarray(drawn) == 0, np.bool_)


def opencv() -> Any:
    """Return OpenCV. Raises MissingExtraError."""
    try:
        import cv2
    except ImportError:
        raise MissingExtraError("printing and scanning shares", "print") from None
    return cv2


def pdf(shares: list[ShareFile]) -> bytes:
    """Return a PDF, A4, one page a share in the given order.

    Raises InputError for no shares or one without proof, LimitError where a proof does not fit a QR code,
    MissingExtraError without the extra `print`.
    """
    if not shares:
        raise InputError("no shares were given: name the files to print")
    try:
        import segno
        from reportlab.lib.units import mm
        from reportlab.pdfgen.canvas import Canvas
    except ImportError:
        raise MissingExtraError("printing shares", "print") from None
    out = io.BytesIO()
    page = (_PAGE_MM[0] * mm, _PAGE_MM[1] * mm)
    canvas = Canvas(out, pagesize=page, pageCompression=1, invariant=1)
    canvas.setTitle("visual cryptography shares")
    for share in shares:
        _draw_page(canvas, share, segno.make_qr(qr_payload(share), error="m", boost_error=False), mm)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def pixel_mm(rows: int, columns: int) -> float:
    """Return the side of a share's pixel on the page, in millimetres."""
    reach = mark_side(rows, columns) * (1 + MARK_GAP)
    room = _PAGE_MM[0] - 2 * _MARGIN_MM, _PAGE_MM[1] - 3 * _MARGIN_MM - _QR_MM
    return min(room[0] / (columns + 2 * reach), room[1] / (rows + 2 * reach))


def scan_dpi(pixel: float) -> int:
    """Return the dots an inch that a scan of pixels of that many millimetres needs, in steps of 50."""
    return 50 * int(np.ceil(DOTS_A_PIXEL * 25.4 / pixel / 50))


def _draw_page(canvas: Any, share: ShareFile, code: Any, mm: float) -> None:
    from reportlab.lib.utils import ImageReader

    from medveil.imaging import raster

    rows, columns = share.shape[:2]
    side = mark_side(rows, columns)
    reach = side * (1 + MARK_GAP)
    pixel = pixel_mm(rows, columns)
    unit = pixel * mm  # points
    left = (_PAGE_MM[0] * mm - columns * unit) / 2
    top = _PAGE_MM[1] * mm - _MARGIN_MM * mm - reach * unit
    picture = raster.encode_png((share.pixels >> 7) * np.uint8(255))
    canvas.drawImage(ImageReader(io.BytesIO(picture)), left, top - rows * unit, columns * unit, rows * unit, mask=None)
    canvas.setFillGray(0)
    for number, (x, y) in enumerate(mark_centres(rows, columns)):
        cell = side / MARK_CELLS
        for row, column in np.argwhere(mark_cells(number)):
            canvas.rect(
                left + (x - side / 2 + column * cell) * unit,
                top - (y - side / 2 + (row + 1) * cell) * unit,
                cell * unit,
                cell * unit,
                stroke=0,
                fill=1,
            )
    _draw_code(canvas, code, mm)
    statement = claimed(share) if share.envelope and share.envelope.session else None
    which = (
        f"share {statement.index} of {statement.shares}, any {statement.threshold} show the picture"
        if statement
        else ""
    )
    canvas.setFont("Helvetica", 9)
    canvas.drawString(
        _MARGIN_MM * mm + (_QR_MM + 6) * mm, _MARGIN_MM * mm + 10 * mm, "visual cryptography share, medveil"
    )
    canvas.drawString(_MARGIN_MM * mm + (_QR_MM + 6) * mm, _MARGIN_MM * mm + 5 * mm, which)
    canvas.drawString(
        _MARGIN_MM * mm + (_QR_MM + 6) * mm,
        _MARGIN_MM * mm,
        f"{columns} x {rows} pixels of {pixel:.2f} mm, scan at {scan_dpi(pixel)} dpi or more",
    )


def _draw_code(canvas: Any, code: Any, mm: float) -> None:
    modules = np.array([[bool(dot) for dot in line] for line in code.matrix])
    unit = _QR_MM * mm / len(modules)
    for row, column in np.argwhere(modules):
        canvas.rect(
            _MARGIN_MM * mm + column * unit, _MARGIN_MM * mm + (len(modules) - 1 - row) * unit, unit, unit, 0, 1
        )


def page_image(share: ShareFile, scale: int = 4) -> npt.NDArray[np.uint8]:
    """Return a page as a scanner without any fault would see it: uint8 (rows, columns[, 3]), `scale` dots a pixel.

    For tests, simulations and screens; marks and QR code as on paper. Raises as `pdf`.
    """
    try:
        import segno
    except ImportError:
        raise MissingExtraError("printing shares", "print") from None
    rows, columns = share.shape[:2]
    side = mark_side(rows, columns)
    reach = int(np.ceil(side * (1 + MARK_GAP))) + 8
    code = np.array([[bool(dot) for dot in line] for line in segno.make_qr(qr_payload(share), error="m").matrix])
    module = max(3, scale)
    below = (len(code) + 8) * module
    width = max((columns + 2 * reach) * scale, below)
    page = np.full(((rows + 2 * reach) * scale + below, width, *share.shape[2:]), 255, np.uint8)
    picture = ((share.pixels >> 7) * np.uint8(255)).repeat(scale, 0).repeat(scale, 1)
    page[reach * scale : (reach + rows) * scale, reach * scale : (reach + columns) * scale] = picture
    for number, (x, y) in enumerate(mark_centres(rows, columns)):
        _stamp(page, mark_cells(number), (x + reach - side / 2) * scale, (y + reach - side / 2) * scale, side * scale)
    _stamp(page, code, 4 * module, (rows + 2 * reach) * scale + 4 * module, len(code) * module)
    return page


def _stamp(page: npt.NDArray[np.uint8], cells: npt.NDArray[np.bool_], left: float, top: float, side: float) -> None:
    """Draw black cells into a page, rounded to its dots."""
    count = len(cells)
    for row, column in np.argwhere(cells):
        y0, y1 = round(top + row * side / count), round(top + (row + 1) * side / count)
        x0, x1 = round(left + column * side / count), round(left + (column + 1) * side / count)
        page[y0:y1, x0:x1] = 0
