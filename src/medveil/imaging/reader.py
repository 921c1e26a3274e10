"""`read`: any medical image file to `MedicalImage`, told by its content and never by its name.

::

    DICOM (with or without preamble), NIfTI-1 and NIfTI-2 (.nii, .nii.gz), PNG, TIFF and BigTIFF, JPEG, JPEG-LS,
    JPEG 2000 (codestream or JP2)

A file that cannot be decoded is still patient data: `read_any` gives it back as an `OpaqueFile`, so that it can be
protected as bytes.
"""

from __future__ import annotations

import os
from pathlib import Path

from medveil.errors import InputError, LimitError, MedveilError, UnsupportedError
from medveil.imaging import codestream, dicom, tiff_header
from medveil.imaging.image import MedicalImage, OpaqueFile

DEFAULT_LIMIT = codestream.DEFAULT_LIMIT

_NAMED_BUT_NOT_READ = (
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"RIFF", "a RIFF file (WebP, AVI or WAV)"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"%PDF", "a PDF document"),
    (b"NRRD", "an NRRD volume"),
    (b"PK\x03\x04", "a ZIP archive"),
)


def read(source: str | os.PathLike[str] | bytes, *, name: str = "", limit: int = DEFAULT_LIMIT) -> MedicalImage:
    """Read a medical image from a path, or from the bytes of a file.

    name: what to call it; the file's name where a path is given. limit: bytes that the file, and its decoded
    pixels, may take; both are refused before anything of that size is allocated.
    The result's `original` holds the file's exact bytes.

    Raises InputError (not there, a directory, empty, damaged, not an image), UnsupportedError (an image or encoding
    that is not read; MissingExtraError where a package is missing) or LimitError.
    """
    data, name = load(source, name=name, limit=limit)
    kind = sniff(data)
    if kind == "dicom":
        return dicom.decode(data, name=name, limit=limit)
    if kind == "nifti":
        from medveil.imaging import nifti

        return nifti.decode(data, name=name, limit=limit)
    from medveil.imaging import raster

    return (
        raster.decode_tiff(data, name=name, limit=limit)
        if kind == "tiff"
        else raster.decode(data, name=name, limit=limit)
    )


def read_any(
    source: str | os.PathLike[str] | bytes, *, name: str = "", limit: int = DEFAULT_LIMIT
) -> MedicalImage | OpaqueFile:
    """Read a file as an image where it is one, and as an `OpaqueFile` with the reason where it cannot be decoded.

    Raises only what concerns the file itself: InputError where the path is no readable file, LimitError where the
    file (not its pixels) is larger than `limit`.
    """
    data, name = load(source, name=name, limit=limit)
    try:
        return read(data, name=name, limit=limit)
    except MedveilError as error:
        return OpaqueFile(original=data, reason=str(error), name=name, media_type=_media_type(data))


def load(source: str | os.PathLike[str] | bytes, *, name: str = "", limit: int = DEFAULT_LIMIT) -> tuple[bytes, str]:
    """Return a file's bytes and name, refusing what is no regular file or is larger than `limit` bytes."""
    if isinstance(source, bytes):
        if len(source) > limit:
            raise LimitError(f"{len(source)} bytes are more than the limit of {limit}")
        return source, name
    path = Path(source)
    try:
        if path.is_dir():
            raise InputError(f"{path} is a directory: name the files in it")
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a regular file: copy its content to one")
        size = path.stat().st_size
        if size > limit:
            raise LimitError(f"{path} has {size} bytes, more than the limit of {limit}: refused before it was read")
        return path.read_bytes(), name or path.name
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be read ({reason.lower()}): check the path and its permissions") from error


def sniff(data: bytes) -> str:
    """Return dicom, nifti, tiff or picture for the bytes of a file.

    Raises InputError where they are empty or of no image format, UnsupportedError where the format is known but
    not read.
    """
    if not data:
        raise InputError("an empty file: nothing to read")
    if data[128:132] == b"DICM":
        return "dicom"
    if data.startswith((codestream.PNG_START, codestream.JPEG_START, codestream.J2K_START, codestream.JP2_START)):
        return "picture"
    if tiff_header.starts_tiff(data):
        return "tiff"
    from medveil.imaging import nifti

    if nifti.looks_like(data):
        return "nifti"
    if dicom.looks_like(data):
        return "dicom"
    for start, what in _NAMED_BUT_NOT_READ:
        if data.startswith(start):
            raise UnsupportedError(f"{what}: medveil reads DICOM, NIfTI, PNG, TIFF, JPEG and JPEG 2000")
    raise InputError("not an image that medveil knows: it reads DICOM, NIfTI, PNG, TIFF, JPEG and JPEG 2000")


def _media_type(data: bytes) -> str:
    try:
        kind = sniff(data)
    except MedveilError:
        return "application/octet-stream"
    if kind == "picture":
        try:
            from medveil.imaging import raster

            return raster.MEDIA_TYPES[codestream.inspect(data).kind]
        except InputError:
            return "application/octet-stream"
    return {"dicom": dicom.MEDIA_TYPE, "nifti": "application/x-nifti", "tiff": "image/tiff"}[kind]
