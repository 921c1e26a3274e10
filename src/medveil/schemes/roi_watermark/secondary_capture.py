"""A share as a DICOM Multi-frame Grayscale Secondary Capture (PS3.3 A.8.3 and A.8.4) that says what it is.

The file holds nothing of the patient or the study: names are the warning, identifiers are fresh. Its attributes are a
wrapper that a PACS may change; only the pixels are a share.
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import FormatError, MedveilError, TamperedError

WARNING: Final = "PROTECTED - not for diagnosis"
"""What a share says to whoever opens it in a viewer."""

_BYTE, _WORD = "1.2.840.10008.5.1.4.1.1.7.2", "1.2.840.10008.5.1.4.1.1.7.3"
_EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
_LOSSY: Final = frozenset(
    {
        "1.2.840.10008.1.2.4.50",
        "1.2.840.10008.1.2.4.51",
        "1.2.840.10008.1.2.4.81",
        "1.2.840.10008.1.2.4.91",
        "1.2.840.10008.1.2.4.203",
    }
)


def write(frames: npt.NDArray[Any]) -> bytes:
    """Return the DICOM file of (frames, rows, columns) words of 8 or 16 bits."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, generate_uid

    bits = 8 * frames.dtype.itemsize
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_BYTE if bits == 8 else _WORD)
    meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
    meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE)
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(prefix=None), generate_uid(prefix=None)
    dataset.PatientName, dataset.PatientID = "PROTECTED^SHARE", ""
    dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyDate = dataset.StudyTime = ""
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.Modality, dataset.ConversionType = "OT", "SYN"
    dataset.StudyDescription = dataset.SeriesDescription = dataset.ImageComments = WARNING
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.BurnedInAnnotation = "NO"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    if frames.shape[0] > 1:
        dataset.FrameIncrementPointer = 0x00181063
        dataset.FrameTime = "1"
    _add_banner(dataset, frames.shape[1], frames.shape[2])
    pixels = np.ascontiguousarray(frames, dtype=frames.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = pixels + b"\x00" * (len(pixels) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


# 5x7 letters of the banner, a row of five bits each, most significant bit left.
_LETTERS: Final = {
    "P": (30, 17, 17, 30, 16, 16, 16),
    "R": (30, 17, 17, 30, 20, 18, 17),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "C": (14, 17, 16, 16, 16, 17, 14),
    "D": (30, 17, 17, 17, 17, 17, 30),
    "N": (17, 25, 25, 21, 19, 19, 17),
    "F": (31, 16, 16, 30, 16, 16, 16),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "A": (14, 17, 17, 31, 17, 17, 17),
    "G": (14, 17, 16, 23, 17, 17, 14),
    "S": (15, 16, 16, 14, 1, 1, 30),
    "-": (0, 0, 0, 31, 0, 0, 0),
    " ": (0, 0, 0, 0, 0, 0, 0),
}


def _add_banner(dataset: Any, rows: int, columns: int) -> None:
    """Lay the warning over the picture as an overlay plane (PS3.3 C.9.2), as large as fits; pixels stay as they are."""
    letters = np.array([_LETTERS[c] for c in WARNING.upper()])  # (letters, 7)
    bits = (letters[:, :, None] >> np.arange(4, -1, -1)) & 1
    text = np.pad(bits, ((0, 0), (1, 1), (0, 1))).transpose(1, 0, 2).reshape(9, -1).astype(np.uint8)
    scale = min(columns // text.shape[1], rows // text.shape[0])
    if scale < 1:
        return
    text = np.repeat(np.repeat(text, scale, axis=0), scale, axis=1)
    plane = np.zeros((rows, columns), np.uint8)
    top, left = (rows - text.shape[0]) // 2, (columns - text.shape[1]) // 2
    plane[top : top + text.shape[0], left : left + text.shape[1]] = text
    packed = np.packbits(plane.reshape(-1), bitorder="little").tobytes()
    dataset.add_new(0x60000010, "US", rows)
    dataset.add_new(0x60000011, "US", columns)
    dataset.add_new(0x60000022, "LO", WARNING)
    dataset.add_new(0x60000040, "CS", "G")
    dataset.add_new(0x60000050, "SS", [1, 1])
    dataset.add_new(0x60000100, "US", 1)
    dataset.add_new(0x60000102, "US", 0)
    dataset.add_new(0x60003000, "OW", packed + b"\x00" * (len(packed) % 2))


def read(data: bytes) -> npt.NDArray[Any]:
    """Return the share's rows, (frames * rows, columns) words, from a DICOM file in any lossless transfer syntax.

    Raises FormatError where it was stored with loss or is no grey image of 8 or 16 bits, TamperedError where it cannot
    be read.
    """
    from medveil.imaging import dicom

    try:
        image = dicom.decode(data, limit=1 << 33)
    except MedveilError as error:
        raise TamperedError(f"a share's DICOM file cannot be read ({error}): fetch the share again") from None
    lossy = image.details.get("lossy") or image.details.get("transfer_syntax") in _LOSSY
    pixels = image.pixels
    if lossy or pixels.ndim != 3 or pixels.dtype.kind != "u" or pixels.dtype.itemsize > 2:
        raise FormatError("a share was stored again with loss or converted: fetch the share as it was written")
    return pixels.reshape(-1, pixels.shape[2])
