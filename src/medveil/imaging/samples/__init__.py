"""Small real medical images that the package carries for `medveil demo` and its tests; licences beside them.

`README.md` in this folder names source, licence, credit and sha256 of each; `LICENSES/` holds the licence texts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from medveil.errors import InputError, TamperedError

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Sample:
    """One carried file: what it shows, where it comes from, under which licence, and its sha256."""

    name: str
    shows: str
    source: str
    licence: str
    credit: str
    sha256: str


_DICOMPARSER = "github.com/cornerstonejs/dicomParser, testImages"
_PYDICOM = "pydicom test files"
_BRAIN = "github.com/KomalChaudhari8/BRAIN_TUMOR_APP, 224 x 224 copy of Kaggle masoudnickparvar/brain-tumor-mri-dataset"
_BUSI = "github.com/TongxinWang0405/BMI702_project, 256 x 256 copy of BUSI, made grey without loss"
_BUSI_CREDIT = "Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 28, 2020"

SAMPLES = (
    Sample(
        "ct-thorax.dcm", "CT slice of the chest, 512 x 512, 16 bit signed, uncompressed",
        f"{_DICOMPARSER}/CT1_UNC.explicit_little_endian.dcm", "MIT-dicomParser", "C. Hafey",
        "bc92908fb936c20b29582a3db31dd0b787246d5213bb8822dc964a45d6a65d9a",
    ),
    Sample(
        "ct-perfusion-2-frames.dcm", "CT perfusion of the brain, 2 frames of 512 x 512, 16 bit, JPEG-LS lossless",
        f"{_DICOMPARSER}/encapsulated/multi-frame/CT0012.not_fragmented_bot_jpeg_ls.80.dcm", "MIT-dicomParser",
        "C. Hafey", "e781654b53b97cc71d3ef70ce6082f61a691ce36003b8c49fa4ec84e5b5956a2",
    ),
    Sample(
        "xray-chest-15-bit.dcm", "chest X-ray (CR), 1955 x 1841, 15 bit, MONOCHROME1, JPEG 2000",
        f"{_PYDICOM}, RG1_J2KI.dcm", "MIT-pydicom", "D. Mason and pydicom contributors",
        "744d01372fdda4e21b507bb7f97329065de961f4f263342079b369b430064d65",
    ),
    Sample(
        "mr-10-frames.dcm", "enhanced MR, 10 frames of 64 x 64, 12 bit, uncompressed",
        f"{_PYDICOM}, emri_small.dcm", "MIT-pydicom", "D. Mason and pydicom contributors",
        "151233ec63f64ebb63b979df51aa827cd612a53422c073f6ef341770c7bc9a56",
    ),
    Sample(
        "us-doppler-8-frames.dcm", "colour Doppler ultrasound of the heart, 8 frames of 240 x 320, JPEG",
        f"{_DICOMPARSER}/encapsulated/multi-frame/IM00001.fragmented_no_bot_jpeg_baseline.50.dcm", "MIT-dicomParser",
        "C. Hafey", "8c4e4c2edafd5de7970175710744178fb2550d12a60dc386697232144257702b",
    ),
    Sample(
        "mr-brain.nii", "MR volume of the brain, 25 slices of 41 x 33, 16 bit, big endian",
        "github.com/nipy/nibabel, nibabel/tests/data/anatomical.nii", "MIT-nibabel",
        "M. Brett and nibabel contributors",
        "1c089f37b6597a38bb4157a1e1b3f7f13f1bc9d4e7a8cfdfaf91d85cd8f66594",
    ),
    Sample(
        "mr-brain-glioma.jpg", "MR slice of a brain with a glioma, 224 x 224, JPEG", f"{_BRAIN} (Te-gl_0055)",
        "CC0-1.0", "Cheng 2017", "bdb85ed70d326e86c722b9b5e34dbd066366d884260cb623cd69b1336473d515",
    ),
    Sample(
        "mr-brain-meningioma.jpg", "MR slice of a brain with a meningioma, 224 x 224, JPEG", f"{_BRAIN} (Te-me_0042)",
        "CC0-1.0", "Cheng 2017", "5602e8a72ddf0052bcce841d975c766c561175394348b1a4c08ff3c644b9fca8",
    ),
    Sample(
        "xray-chest-1024.png", "chest X-ray, 1024 x 1024, 8 bit",
        "NIH ChestX-ray14, 00001974_001.png, by way of github.com/muhammedtalo/COVID-19", "NIH",
        "NIH Clinical Center; Wang et al., ChestX-ray8, CVPR 2017",
        "e20cf7a8dda454e1a275076566fd141c732e7a4df154eccfb64c82d09989439e",
    ),
    Sample(
        "us-breast-benign.png", "breast ultrasound with a benign finding, 256 x 256", f"{_BUSI}, benign (132)",
        "CC-BY-4.0", _BUSI_CREDIT, "dc1de53569693f27e2575b22098fb14d0e4d7ee1aa36ba345ba6ff217d059b8a",
    ),
    Sample(
        "us-breast-malignant.png", "breast ultrasound with a malignant finding, 256 x 256", f"{_BUSI}, malignant (120)",
        "CC-BY-4.0", _BUSI_CREDIT, "f757caab911f82cbd50faff86dddf1f48d0a4acc59ed52ae97cb338ffb51b5f4",
    ),
)  # fmt: skip


def names() -> tuple[str, ...]:
    """Return the names of all carried files."""
    return tuple(sample.name for sample in SAMPLES)


def path(name: str) -> Path:
    """Return where a carried file lies; raises InputError for a name that `names` does not have."""
    if name not in names():
        raise InputError(f"no sample {name!r}: choose one of {', '.join(names())}")
    return FOLDER / name


def load(name: str) -> bytes:
    """Return a carried file's bytes.

    Raises InputError for an unknown name and TamperedError where the installed file is not the one that was shipped.
    """
    data = path(name).read_bytes()
    expected = next(sample.sha256 for sample in SAMPLES if sample.name == name)
    if hashlib.sha256(data).hexdigest() != expected:
        raise TamperedError(f"the sample {name} differs from the one that was shipped: install the package again")
    return data
