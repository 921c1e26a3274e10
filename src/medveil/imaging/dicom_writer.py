"""DICOM files that medveil writes: secondary captures of protected pictures, and copies with other pixels."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, UnsupportedError
from medveil.imaging import banner
from medveil.imaging.image import MedicalImage, Photometric

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_NATIVE = ("1.2.840.10008.1.2", _EXPLICIT_LITTLE, "1.2.840.10008.1.2.2")
_SC = "1.2.840.10008.5.1.4.1.1.7"
_PAGE_VECTOR = 0x00182001
_IMPLEMENTATION = "MEDVEIL"
_STALE_KEYWORDS = (  # what describes the old pixels or their encoding, or signed them
    "SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingRangeLimit", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "EncapsulatedPixelDataValueTotalLength", "DigitalSignaturesSequence",
    "MACParametersSequence", "IconImageSequence", "PixelDataProviderURL",
)  # fmt: skip


def write_secondary_capture(
    image: MedicalImage,
    *,
    annotation: str = "",
    description: str = "",
    study_uid: str | None = None,
    series_uid: str | None = None,
    number: int = 1,
) -> bytes:
    """Return a DICOM Secondary Capture of the image's pixels, uncompressed, with new UIDs and no patient data.

    annotation: text for a visible band *below* the picture (``"PROTECTED - NOT FOR DIAGNOSIS"``): the first `rows`
    rows stay the picture, value for value, and the file says Burned In Annotation YES; empty for none.
    description: Series Description. study_uid, series_uid: to group several files; new ones otherwise.
    number: Instance Number.

    One frame: Secondary Capture Image, unsigned or signed 8 or 16 bits, grey or RGB. Several frames: Multi-frame
    Grayscale Byte or Word, or True Color (PS3.3 A.8.3 to A.8.5), which have no signed and no 16-bit colour pixels.
    Raises UnsupportedError for what these do not hold (floats, 32 bits, alpha, palettes).
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import generate_uid

    sop_class = _sop_class(image)
    white = (1 << image.bits_stored) - 1 if not image.signed else (1 << (image.bits_stored - 1)) - 1
    pixels = banner.append(image.pixels, annotation, white=white)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = _uid(_EXPLICIT_LITTLE)
    dataset.SOPClassUID = _uid(sop_class)
    dataset.SOPInstanceUID = generate_uid(prefix=None)
    for keyword in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
        "ReferringPhysicianName", "StudyID", "PatientOrientation", "Laterality",
    ):  # fmt: skip
        setattr(dataset, keyword, "")
    dataset.StudyInstanceUID = study_uid or generate_uid(prefix=None)
    dataset.SeriesInstanceUID = series_uid or generate_uid(prefix=None)
    dataset.Modality = "OT"
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = number
    dataset.Manufacturer = "medveil"
    dataset.BurnedInAnnotation = "YES" if annotation.strip() else "NO"
    if description:
        dataset.SeriesDescription = description[:64]
    if image.frames > 1:
        dataset.NumberOfFrames = image.frames
        dataset.FrameIncrementPointer = _PAGE_VECTOR
        dataset.PageNumberVector = list(range(1, image.frames + 1))
    if image.samples == 1 and sop_class != _SC:
        dataset.PresentationLUTShape = "IDENTITY"
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    _set_pixels(dataset, pixels, image.bits_stored, image.photometric, little=True)
    return save(dataset)


def write_dicom_like(original: bytes, new_pixels: npt.NDArray[Any], *, derivation: str = "") -> bytes:
    """Return a copy of a DICOM file with other pixels, as a new, derived instance.

    new_pixels: as `imaging.dicom.decode` gives them: (frames, rows, columns[, 3]) with the original's number of
    samples; rows, columns and frames may differ; same kind of values (integer or float). Native transfer syntaxes
    stay, compressed ones become Explicit VR Little Endian. The header is kept, patient data too, except: new SOP
    Instance UID, Image Type DERIVED, the original named as source image, `derivation` as Derivation Description,
    and stale attributes (pixel statistics, icons, signatures) left out.

    Raises InputError where the original is no DICOM image or the pixels do not fit it.
    """
    from pydicom.uid import generate_uid

    from medveil.imaging import dicom

    dataset = dicom.open_dataset(original)
    old = dicom.decode(original)
    if "SOPClassUID" not in dataset:
        raise InputError("a DICOM file without a SOP Class UID: it cannot be written as a valid file")
    pixels = np.asarray(new_pixels)
    fits = pixels.ndim == old.pixels.ndim and pixels.shape[3:] == old.pixels.shape[3:] and 0 not in pixels.shape
    if not fits or pixels.dtype != old.pixels.dtype:
        raise InputError(
            f"pixels {pixels.dtype} {pixels.shape} do not fit the file's {old.pixels.dtype} {old.pixels.shape}"
        )
    with dicom.quiet():
        try:
            _derive(dataset, derivation)
            dataset.SOPInstanceUID = generate_uid(prefix=None)
            syntax = str.__str__(dataset.file_meta.TransferSyntaxUID)
            if syntax not in _NATIVE:
                syntax = _EXPLICIT_LITTLE
            dataset.file_meta.TransferSyntaxUID = _uid(syntax)
            if "NumberOfFrames" in dataset or pixels.shape[0] > 1:
                dataset.NumberOfFrames = pixels.shape[0]
            _set_pixels(dataset, pixels, old.bits_stored, old.photometric, little=syntax != _NATIVE[2])
            return save(dataset)
        except dicom.decoder_errors() as error:
            raise InputError(f"a DICOM header that cannot be written again ({type(error).__name__})") from error


def _derive(dataset: Dataset, derivation: str) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    source = Dataset()
    if "SOPClassUID" in dataset and "SOPInstanceUID" in dataset:
        source.ReferencedSOPClassUID = dataset.SOPClassUID
        source.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
        dataset.SourceImageSequence = Sequence([source])
    kind = dataset.get("ImageType")
    values = [kind] if isinstance(kind, str) else list(kind or [])
    dataset.ImageType = ["DERIVED", *(values[1:] or ["SECONDARY"])]
    if derivation:
        dataset.DerivationDescription = derivation[:1024]
    for keyword in _STALE_KEYWORDS:
        if keyword in dataset:
            delattr(dataset, keyword)


def _set_pixels(
    dataset: Dataset, pixels: npt.NDArray[Any], bits: int, photometric: Photometric, *, little: bool
) -> None:
    """Put pixels and the attributes that describe them (PS3.3 C.7.6.3) into a data set, uncompressed."""
    dataset.Rows, dataset.Columns = pixels.shape[1:3]
    dataset.SamplesPerPixel = pixels.shape[3] if pixels.ndim == 4 else 1
    dataset.PhotometricInterpretation = photometric.value
    if pixels.ndim == 4:
        dataset.PlanarConfiguration = 0
    order: Literal["<", ">"] = "<" if little else ">"
    if pixels.dtype.kind == "f":
        data = np.ascontiguousarray(pixels, dtype=f"{order}f{pixels.dtype.itemsize}").tobytes()
        dataset.BitsAllocated = 8 * pixels.dtype.itemsize
        setattr(dataset, "FloatPixelData" if pixels.dtype.itemsize == 4 else "DoubleFloatPixelData", data)
        return
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    if bits == 1:
        dataset.BitsAllocated = 1
        data = np.packbits(pixels.reshape(-1), bitorder="little").tobytes()
    else:
        dataset.BitsAllocated = 8 * pixels.dtype.itemsize
        data = np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder(order), copy=False).tobytes()
    vr = "OB" if dataset.BitsAllocated <= 8 and _explicit(dataset) else "OW"
    dataset.add_new(0x7FE00010, vr, data + b"\0" * (len(data) % 2))
    dataset["PixelData"].is_undefined_length = False


def _explicit(dataset: Dataset) -> bool:
    return str.__str__(dataset.file_meta.TransferSyntaxUID) != _NATIVE[0]


def _sop_class(image: MedicalImage) -> str:
    if image.pixels.dtype.kind == "f" or image.pixels.dtype.itemsize > 2:
        raise UnsupportedError(f"a secondary capture of {image.pixels.dtype} pixels: only 8 and 16 bit integers")
    if image.samples == 4 or image.photometric is Photometric.PALETTE_COLOR:
        raise UnsupportedError("a secondary capture with alpha or a palette: use grey or RGB pixels")
    if image.frames == 1:
        return _SC
    wide = image.pixels.dtype.itemsize == 2
    if image.signed or (wide and image.samples == 3):
        raise UnsupportedError("a multi-frame secondary capture of signed or 16-bit colour pixels")
    if image.samples == 3:
        return f"{_SC}.4"
    return f"{_SC}.3" if wide else f"{_SC}.2"


def _uid(text: str) -> Any:
    from pydicom.uid import UID

    return UID(text)


def check_syntax(dataset: Dataset) -> None:
    """Raise UnsupportedError where a data set cannot be written in the transfer syntax that it was read in."""
    from pydicom.uid import UID

    meta = getattr(dataset, "file_meta", None)
    syntax = UID(str((meta.get("TransferSyntaxUID") if meta is not None else None) or ""))
    if not syntax or syntax.is_private or not syntax.is_transfer_syntax:
        raise UnsupportedError(f"a DICOM file in the transfer syntax {str(syntax)!r}, which is not written here")


def save(dataset: Dataset) -> bytes:
    """Write a data set as a whole PS3.10 file with a fresh preamble and file meta group."""
    from pydicom import dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = _IMPLEMENTATION
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
