"""`read` and `read_any`: told by content, typed errors, nothing allocated beyond the limit."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

import medveil as mv
from medveil.errors import InputError, LimitError, MedveilError, UnsupportedError
from medveil.imaging import codestream, raster, samples
from medveil.imaging.image import MedicalImage, OpaqueFile, Photometric
from medveil.imaging.reader import load, read, read_any, sniff


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(columns: int, rows: int, bits: int, colour: int, lines: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", columns, rows, bits, colour, 0, 0, 0)
    return (
        codestream.PNG_START
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def nifti_header(dim: tuple[int, ...], code: int = 4, bits: int = 16) -> bytes:
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, len(dim), *dim, *[1] * (7 - len(dim)))
    struct.pack_into("<hh", head, 70, code, bits)
    struct.pack_into("<f", head, 108, 352.0)
    head[344:348] = b"n+1\0"
    return bytes(head)


def tiff(rows: int, columns: int) -> bytes:
    entries = [(256, columns), (257, rows), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, rows), (279, 1)]
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)


def j2k(rows: int, columns: int) -> bytes:
    size = struct.pack(">HHHIIIIIIIIHBBB", 0xFF51, 41, 0, columns, rows, 0, 0, columns, rows, 0, 0, 1, 7, 1, 1)
    return b"\xff\x4f" + size + bytes(100)


def jpeg(rows: int, columns: int, samples_: int = 1) -> bytes:
    frame = struct.pack(">BHHB", 8, rows, columns, samples_) + b"".join(
        bytes([i + 1, 0x11, 0]) for i in range(samples_)
    )
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + bytes(50)


def mr_jpeg() -> bytes:
    return samples.load("mr-brain-glioma.jpg")


def chest() -> bytes:
    return samples.load("xray-chest-1024.png")


BAD = {
    "empty": (lambda: b"", InputError, "empty file"),
    "one byte": (lambda: b"\x89", InputError, "not an image"),
    "text": (lambda: b"Patient: see the other file\n" * 20, InputError, "not an image"),
    "zeros": (lambda: bytes(4096), InputError, "not an image"),
    "PDF": (lambda: b"%PDF-1.7\n" + bytes(100), UnsupportedError, "PDF"),
    "GIF": (lambda: b"GIF89a" + bytes(100), UnsupportedError, "GIF"),
    "ZIP": (lambda: b"PK\x03\x04" + bytes(100), UnsupportedError, "ZIP"),
    "gzipped text": (lambda: gzip.compress(b"hello" * 1000), InputError, "not an image"),
    "PNG cut in its header": (lambda: chest()[:20], InputError, "truncated"),
    "PNG cut in its data": (lambda: chest()[:50_000], InputError, "damaged png"),
    "PNG without rows": (lambda: png(4, 0, 8, 0, b""), InputError, "no pixels"),
    "PNG of 3 bits": (lambda: png(4, 4, 3, 0, bytes(20)), InputError, "format does not have"),
    "PNG that is a bomb": (lambda: png(100_000, 100_000, 8, 0, bytes(1000)), LimitError, "before allocation"),
    "PNG animation": (lambda: png(2, 2, 8, 0, bytes(6), chunk(b"acTL", bytes(8))), UnsupportedError, "animated"),
    "JPEG cut in its header": (lambda: mr_jpeg()[:10], InputError, "truncated"),
    "JPEG cut before its data": (lambda: mr_jpeg()[:400], InputError, "JPEG|jpeg|truncated"),
    "JPEG cut in its data": (lambda: mr_jpeg()[:-200], InputError, "without its end"),
    "JPEG of no height": (lambda: jpeg(0, 64), InputError, "no pixels"),
    "JPEG that is a bomb": (lambda: jpeg(65_000, 65_000), LimitError, "before allocation"),
    "JPEG in CMYK": (lambda: jpeg(64, 64, 4), UnsupportedError, "CMYK"),
    "JPEG 2000 that is a bomb": (lambda: j2k(100_000, 100_000), LimitError, "before allocation"),
    "JPEG 2000 without data": (lambda: j2k(64, 64), InputError, "damaged j2k"),
    "TIFF that is a bomb": (lambda: tiff(100_000, 100_000), LimitError, "before allocation"),
    "TIFF without data": (lambda: tiff(64, 64), InputError, "damaged TIFF"),
    "TIFF cut": (lambda: tiff(64, 64)[:40], InputError, "truncated"),
    "TIFF in a circle": (lambda: tiff(4, 4)[:-4] + struct.pack("<I", 8) + bytes(90), InputError, "circle"),
    "NIfTI cut": (lambda: samples.load("mr-brain.nii")[:-2], InputError, "truncated"),
    "NIfTI header only": (lambda: nifti_header((8, 8, 8)), InputError, "truncated"),
    "NIfTI without slices": (lambda: nifti_header((8, 8, 0)), InputError, "no pixels"),
    "NIfTI that is a bomb": (lambda: nifti_header((32_000, 32_000, 100)), LimitError, "before allocation"),
    "gzipped NIfTI that is a bomb": (
        lambda: gzip.compress(nifti_header((32_000, 32_000, 100)) + bytes(1 << 20)), LimitError, "before allocation",
    ),
    "gzipped NIfTI with damage": (
        lambda: gzip.compress(nifti_header((64, 64, 64)) + os.urandom(1 << 19))[:-4000], InputError, "truncated",
    ),
    "NIfTI of complex values": (lambda: nifti_header((4, 4), 32, 64) + bytes(128), UnsupportedError, "complex"),
    "NIfTI pair": (lambda: nifti_header((4, 4))[:344] + b"ni1\0" + bytes(40), UnsupportedError, "another file"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_has_its_error(case: str) -> None:
    make, error, words = BAD[case]
    data = make()
    with pytest.raises(MedveilError, match=words) as caught:
        read(data)
    assert type(caught.value) is error
    found = read_any(data, name="x")
    assert isinstance(found, OpaqueFile)
    assert found.original == data
    assert found.reason == str(caught.value)
    assert not found.reason.endswith(".")


@pytest.mark.parametrize("case", [case for case in BAD if "bomb" in case])
def test_bombs_are_refused_before_allocation(case: str) -> None:
    data = BAD[case][0]()
    sniff(data)
    tracemalloc.start()
    try:
        with pytest.raises(LimitError):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        read(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "missing.dcm")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        read(tmp_path / "pipe")
    with pytest.raises(InputError):
        read_any(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read("a\0b")


def test_a_file_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.dcm"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(LimitError, match="before it was read"):
        read_any(path)
    with pytest.raises(LimitError):
        load(bytes(100), limit=99)


@pytest.mark.parametrize("name", samples.names())
def test_the_name_does_not_matter(name: str, tmp_path: Path) -> None:
    disguised = tmp_path / "picture.txt"
    disguised.write_bytes(samples.load(name))
    image = mv.read(disguised)
    assert image.name == "picture.txt"
    assert image.original == samples.load(name)
    np.testing.assert_array_equal(image.pixels, read(samples.load(name), name=name).pixels)


def test_dicom_without_preamble() -> None:
    whole = samples.load("ct-thorax.dcm")
    bare = read(whole[132:])
    np.testing.assert_array_equal(bare.pixels, read(whole).pixels)
    assert bare.pixel_span is not None
    assert bare.original == whole[132:]


def test_a_dicom_file_that_is_also_tiff_is_dicom() -> None:
    both = b"II*\0" + samples.load("ct-thorax.dcm")[4:]
    assert sniff(both) == "dicom"
    assert read(both).media_type == "application/dicom"


def test_smallest_pictures() -> None:
    one = read(png(1, 1, 8, 0, b"\0\x2a"))
    assert one.pixels.tolist() == [[[42]]]
    assert read(raster.encode_tiff(np.full((1, 1, 1), -3, np.int16))).pixels.tolist() == [[[-3]]]


def test_media_types() -> None:
    expected = {"dcm": "application/dicom", "jpg": "image/jpeg", "png": "image/png", "nii": "application/x-nifti"}
    for name in samples.names():
        assert read(samples.path(name)).media_type == expected[name.rsplit(".", 1)[1]]
    assert read_any(chest()[:50_000]).media_type == "image/png"
    assert read_any(b"text").media_type == "application/octet-stream"


def test_every_picture_of_the_sets_reads(shared_data: Path) -> None:
    count = 0
    for folder in ("brain_tumor_mri", "breast_ultrasound_busi", "chest_xray_nih", "chest_xray_covid_cc"):
        files = sorted(p for p in (shared_data / folder).rglob("*") if p.suffix in (".png", ".jpg", ".jpeg"))
        for path in files[:: max(1, len(files) // 60)]:
            image = read(path)
            assert isinstance(image, MedicalImage)
            assert image.original == path.read_bytes()
            assert image.pixels.dtype == np.uint8
            assert image.photometric in (Photometric.RGB, Photometric.MONOCHROME2)
            assert image.pixels.std() > 5
            count += 1
    assert count > 190


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys, json, medveil.imaging.reader, medveil.imaging.roi\n"
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pydicom", "imagecodecs", "nibabel", "dicomanonymizer"} & set(json.loads(done.stdout))
