"""Coding of segments: lossless for every kind of word, refused where it claims more than it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemes.sealed.material import OWNER, load, make

from medveil.errors import LimitError, MedveilError, TamperedError
from medveil.imaging.image import MedicalImage
from medveil.schemes.sealed import Sealed
from medveil.schemes.sealed.codec import Grid, Kind, decode, encode_bytes, encode_pixels
from medveil.schemes.sealed.encapsulated import frame_places
from medveil.schemes.sealed.payload import PixelInfo, bands

DTYPES = ("|u1", "|i1", "<u2", ">u2", "<i2", ">i2", "<u4", ">i4", "<f4", ">f8", "<u8")


@settings(max_examples=200, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    samples=st.sampled_from([1, 3, 4]),
    codec=st.sampled_from(["archive", "ingest", "none"]),
    smooth=st.booleans(),
    seed=st.integers(0, 1 << 30),
)
def test_pixels_come_back(
    dtype: str, rows: int, columns: int, samples: int, codec: str, smooth: bool, seed: int
) -> None:
    grid = Grid(dtype, rows, columns, samples)
    size = rows * columns * samples * np.dtype(dtype).itemsize
    dice = np.random.default_rng(seed)
    data = dice.bytes(size)
    if smooth and np.dtype(dtype).kind in "ui":
        ramp = np.add.outer(np.arange(rows), np.arange(columns * samples)) % 120
        data = ramp.astype(np.dtype(dtype)).tobytes()
    kind, coded = encode_pixels(data, grid, codec)
    assert bytes(decode(kind, coded, size, grid)) == data
    assert len(coded) <= size


@pytest.mark.parametrize("codec", ["archive", "ingest"])
@pytest.mark.parametrize("extremes", [(-32768, 32767), (0, 1), (-1, 0), (-32768, -32767)])
def test_extremes_of_signed_words(codec: str, extremes: tuple[int, int]) -> None:
    grid = Grid("<i2", 64, 64, 1)
    data = np.random.default_rng(1).choice(np.array(extremes, "<i2"), (64, 64)).tobytes()
    kind, coded = encode_pixels(data, grid, codec)
    assert bytes(decode(kind, coded, len(data), grid)) == data


@pytest.mark.parametrize(
    ("name", "codec", "kind"),
    [
        ("pydicom_older_tests/693_UNCR.dcm", "archive", Kind.HTJ2K),
        ("pydicom_older_tests/693_UNCR.dcm", "ingest", Kind.JPEGXL),
        ("pydicom_older_tests/693_UNCR.dcm", "none", Kind.RAW),
        ("pydicom_older_tests/US1_UNCR.dcm", "archive", Kind.HTJ2K),
        ("pydicom_older_tests/US1_UNCR.dcm", "ingest", Kind.JPEGXL),
        ("pydicom_older_tests/rtdose.dcm", "archive", Kind.PLANES),
        ("pydicom_older_tests/693_J2KR.dcm", "archive", Kind.RAW),
        ("dcm_qa_ts/3.dcm", "archive", Kind.HTJ2K),
    ],
)
def test_which_codec_takes_what(name: str, codec: str, kind: Kind, shared_data: Path) -> None:
    opened = make(load(shared_data, name), codec=codec).open()
    kinds = [row.kind for row in opened.index.rows if row.kind is not Kind.TAGS]
    assert max(set(kinds), key=lambda k: sum(row.decoded for row in opened.index.rows if row.kind is k)) is kind


def test_sixteen_bit_images_are_stored_small(shared_data: Path) -> None:
    """2 of 3 of a real CT slice, manifests and all, takes less than the slice."""
    given = load(shared_data, "pydicom_older_tests/693_UNCR.dcm")
    for codec in ("archive", "ingest"):
        protected = Sealed((2, 3), codec=codec, owner=OWNER).protect(given)  # type: ignore[arg-type]
        stored = sum(len(part.data) for part in protected.parts)
        assert stored < 0.45 * len(given.original)  # type: ignore[union-attr,arg-type]


def test_bytes_are_shrunk_where_it_helps() -> None:
    assert encode_bytes(b"text " * 1000)[0] is Kind.ZSTD
    assert encode_bytes(np.random.default_rng(0).bytes(5000))[0] is Kind.RAW
    assert encode_bytes(b"")[0] is Kind.RAW


def test_bombs_are_refused() -> None:
    grid = Grid("<u2", 16, 16, 1)
    bomb = imagecodecs.zstd_encode(bytes(256 << 20), level=1)
    for kind in (Kind.ZSTD, Kind.PLANES):
        with pytest.raises(TamperedError):
            decode(kind, bomb, 512, grid)
        with pytest.raises(LimitError):
            decode(kind, bomb, 256 << 20, grid)
    large = np.zeros((4096, 4096), np.uint16)
    for kind, coded in (
        (Kind.HTJ2K, imagecodecs.htj2k_encode(large, reversible=True)),
        (Kind.JPEGXL, imagecodecs.jpegxl_encode(large, lossless=True, effort=1)),
    ):
        with pytest.raises(LimitError, match="4096 x 4096"):
            decode(kind, coded, 512, grid)
        with pytest.raises(TamperedError):
            decode(kind, coded, 512, None)


@given(noise=st.binary(max_size=300), kind=st.sampled_from([Kind.ZSTD, Kind.HTJ2K, Kind.JPEGXL, Kind.PLANES]))
def test_noise_does_not_decode(noise: bytes, kind: Kind) -> None:
    starts = {Kind.HTJ2K: b"\xff\x4f\xff\x51", Kind.JPEGXL: b"\xff\x0a", Kind.ZSTD: b"\x28\xb5\x2f\xfd"}
    for coded in (noise, starts.get(kind, b"") + noise):
        with pytest.raises(MedveilError):
            decode(kind, coded, 512, Grid("<u2", 16, 16, 1))


@given(
    frames=st.integers(1, 50), rows=st.integers(1, 300), columns=st.integers(1, 300), samples=st.sampled_from([1, 3])
)
def test_bands_cover_all_rows_in_order(frames: int, rows: int, columns: int, samples: int) -> None:
    pixels = PixelInfo("<u2", (frames, rows, columns, samples), 0, 16, "MONOCHROME2", None)
    position = 0
    for frame, count, top, height in bands(pixels, 64):
        assert frame * rows + top == position
        assert count == 1 or (top, height) == (0, rows)
        assert top % 64 == 0
        position += height * count
    assert position == frames * rows


def test_places_of_compressed_frames(shared_data: Path) -> None:
    """Each frame's place decodes to that frame, with and without a basic offset table, in one or many fragments."""
    for name in (
        "pydicom_older_tests/emri_small_jpeg_2k_lossless.dcm",
        "pydicom_older_tests/emri_small_jpeg_ls_lossless.dcm",
    ):
        image = load(shared_data, name)
        assert isinstance(image, MedicalImage)
        assert image.original is not None
        places = frame_places(image.original, image.frames)
        assert len(set(places)) == image.frames
        read = imagecodecs.jpegls_decode if "jpeg_ls" in name else imagecodecs.jpeg2k_decode
        for frame, (offset, length) in enumerate(places):
            assert np.array_equal(read(image.original[offset : offset + length]), image.pixels[frame])
    assert frame_places(b"not DICOM", 2) == ((0, 9), (0, 9))
    cut = b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\x00\x00\x01\x00"
    assert frame_places(cut, 1) == ((0, len(cut)),)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_fragments_of_frames(frames: int) -> None:
    """Several fragments a frame: the offset table tells them apart; without one a place is all fragments."""

    def item(data: bytes) -> bytes:
        return b"\xfe\xff\x00\xe0" + len(data).to_bytes(4, "little") + data

    fragments = [item(bytes([number]) * 10) for number in range(2 * frames)]
    table = b"".join((36 * frame).to_bytes(4, "little") for frame in range(frames))
    head = b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff"
    for start, places in (
        (item(table), [36 * frame - 8 for frame in range(frames)]),  # from the header of its first item on
        (item(b""), [0] * frames),
    ):
        data = b"header" + head + start + b"".join(fragments) + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
        begin = 6 + len(head) + len(start) + 8
        found = frame_places(data, frames)
        assert [offset for offset, _ in found] == [begin + place for place in places]
        assert found[-1][0] + found[-1][1] == begin - 8 + 36 * frames


def test_the_first_use_by_many_threads(shared_data: Path) -> None:
    """OpenJPH fills tables at its first use; two threads doing so at once gave wrong pixels in 1 of 150 processes."""
    child = (
        "import sys, threading; sys.setswitchinterval(1e-5)\n"
        "import numpy as np\n"
        "from medveil.schemes.sealed.codec import Grid, encode_pixels, decode, _warm_up\n"
        "data = (np.add.outer(np.arange(64), np.arange(512)) % 997).astype('<u2').tobytes()\n"
        "grid, gate, wrong = Grid('<u2', 64, 512, 1), threading.Barrier(4), []\n"
        "def work():\n"
        "    gate.wait()\n"
        "    kind, coded = encode_pixels(data, grid, 'archive')\n"
        "    wrong.append(kind != 2 or bytes(decode(kind, coded, len(data), grid)) != data)\n"
        "threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert wrong == [False] * 4 and _warm_up.cache_info().misses == 1, wrong\n"
    )
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
