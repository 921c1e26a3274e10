"""Files of any size in bounded memory, sinks and stores that fail, folders of parts."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.schemes.sealed.material import OWNER, STRANGER, flip, load, make

from medveil.errors import (
    InputError,
    MedveilError,
    NotAuthenticError,
    ObjectMissingError,
    StoreUnavailableError,
    UnrecoverableError,
    WrongKeyError,
)
from medveil.imaging.image import MedicalImage, PixelSpan
from medveil.imaging.roi import Rectangle
from medveil.schemes.base import FindingKind
from medveil.schemes.sealed import (
    BytesShare,
    FileSource,
    Manifest,
    Sealed,
    SealOptions,
    check_share,
    compare_pixels,
    open_shares,
    read_tags,
    rebuild,
    seal,
)
from medveil.schemes.sealed.spool import Spool
from medveil.schemes.sealed.workers import ordered

CT = "pydicom_older_tests/693_UNCR.dcm"


def test_a_file_is_sealed_as_it_would_be_in_memory(shared_data: Path) -> None:
    """The same index, the same tags: from a path, an open file, or a decoded image."""
    image = load(shared_data, CT)
    assert isinstance(image, MedicalImage)
    path = shared_data / "dicom_zoo" / CT
    with path.open("rb") as handle:
        for file in (path, handle):
            sinks = [io.BytesIO() for _ in range(4)]
            record = seal(FileSource(file, image.pixel_span), sinks, owner=OWNER)
            shares = {index: BytesShare(sink.getvalue()) for index, sink in enumerate(sinks, start=1)}
            opened = open_shares(record.parsed, record.envelopes, shares, OWNER)
            assert opened.original == image.original
            assert [row.kind for row in opened.index.rows] == [row.kind for row in make(image).open().index.rows]
            tags = read_tags(record.parsed, record.envelopes, shares, OWNER)
            assert compare_pixels(image, tags)[0] == ()
        assert not handle.closed


def test_a_span_that_does_not_fit_is_not_used(shared_data: Path) -> None:
    path = shared_data / "dicom_zoo" / CT
    size = path.stat().st_size
    for span in (
        PixelSpan(0, size, "<u2", (1, 512, 512, 1)),
        PixelSpan(size - 4, 8, "<u2", (1, 2, 2, 1)),
        PixelSpan(-2, 8, "<u2", (1, 2, 2, 1)),
        PixelSpan(0, 8, "|S2", (1, 2, 2, 1)),
    ):
        sinks = [io.BytesIO() for _ in range(4)]
        record = seal(FileSource(path, span), sinks, owner=OWNER)
        shares = {index: BytesShare(sink.getvalue()) for index, sink in enumerate(sinks, start=1)}
        opened = open_shares(record.parsed, record.envelopes, shares, OWNER)
        assert opened.original == path.read_bytes()
        assert opened.tamper_map is None


def test_an_image_whose_span_lies_elsewhere(shared_data: Path) -> None:
    """A span that does not hold the image's pixels: the file is exact all the same, and tags are the pixels'."""
    image = load(shared_data, CT)
    assert isinstance(image, MedicalImage)
    other = MedicalImage(image.pixels + 1, 14, original=image.original, pixel_span=image.pixel_span)
    item = make(other)
    assert item.open().original == image.original
    shares = {index: BytesShare(data) for index, data in enumerate(item.shares, start=1)}
    assert compare_pixels(other, read_tags(item.manifest, item.record.envelopes, shares, OWNER))[0] == ()


_CHILD = """
import os, resource, sys
from pathlib import Path
from medveil.crypto.keyfile import OwnerKey
from medveil.imaging.image import PixelSpan
from medveil.schemes.sealed import FileSource, SealOptions, seal, open_shares, rebuild, check_share

class Share:
    def __init__(self, path):
        self.handle = open(path, "rb"); self.size = os.path.getsize(path)
    def read(self, offset, length, /):
        self.handle.seek(offset); return self.handle.read(length)

folder, frames = Path(sys.argv[1]), int(sys.argv[2])
source = folder / "volume.raw"
tile = os.urandom(512 * 128)
with source.open("wb") as out:
    for frame in range(frames):
        low = bytearray(512 * 512 * 2)
        low[0::2] = (tile * 4)[frame % 7:] + (tile * 4)[:frame % 7]
        out.write(low)
span = PixelSpan(0, frames * 524288, "<u2", (frames, 512, 512, 1))
owner = OwnerKey.generate()

def measure(mb):
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (base - mb) // 1024

warm = [open(folder / f"warm{j}", "wb") for j in range(3)]
seal(os.urandom(3 << 20), warm, owner=owner, options=SealOptions((2, 3)))
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
paths = [folder / f"share{j}" for j in range(3)]
sinks = [path.open("wb") for path in paths]
record = seal(FileSource(source, span), sinks, owner=owner, options=SealOptions((2, 3)))
for sink in sinks: sink.close()
sealed = measure(start)
shares = {j + 1: Share(path) for j, path in enumerate(paths)}
with (folder / "back").open("wb") as out:
    opened = open_shares(record.parsed, record.envelopes, shares, owner, out)
assert opened.findings == ()
opened = measure(start)
with (folder / "again").open("wb") as out:
    rebuild(record.parsed, {1: shares[1], 2: shares[2]}, {3: out})
assert check_share(record.parsed, 3, Share(folder / "again")) == ()
print(sealed, opened, measure(start))
"""


def test_memory_does_not_grow_with_the_object(tmp_path: Path) -> None:
    """A volume of 200 MB, larger than the spool's memory, sealed, opened and repaired within 64 MiB."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path), "400"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert _same(tmp_path / "volume.raw", tmp_path / "back")
    assert _same(tmp_path / "share2", tmp_path / "again")
    grown = [int(word) for word in done.stdout.split()]
    assert max(grown) <= 64, f"{grown} MiB more than at rest"


def _same(one: Path, two: Path) -> bool:
    with one.open("rb") as left, two.open("rb") as right:
        while True:
            a, b = left.read(1 << 20), right.read(1 << 20)
            if a != b:
                return False
            if not a:
                return True


class _Changing(io.BytesIO):
    """A file that is edited while it is read a second time."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == 0 and offset == 0 and self.tell() > 0:
            with self.getbuffer() as view:
                view[5] ^= 1
        return super().seek(offset, whence)


def test_a_file_that_changes_meanwhile_is_refused() -> None:
    noise = np.random.default_rng(5).bytes(3 << 20)
    with pytest.raises(InputError, match="changed while it was being sealed"):
        seal(FileSource(_Changing(noise)), [io.BytesIO() for _ in range(4)], owner=OWNER)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        seal(FileSource(tmp_path / "nothing"), [io.BytesIO()] * 4, owner=OWNER)


class _FullSink(io.BytesIO):
    def write(self, data: object, /) -> int:
        raise StoreUnavailableError("no space left")


def test_a_sink_that_fails_stops_the_sealing(shared_data: Path) -> None:
    sinks = [io.BytesIO(), _FullSink(), io.BytesIO(), io.BytesIO()]
    with pytest.raises(StoreUnavailableError):
        seal(load(shared_data, CT), sinks, owner=OWNER)
    item = make(load(shared_data, CT))
    readers = {index: BytesShare(data) for index, data in enumerate(item.shares, start=1)}
    with pytest.raises(StoreUnavailableError):
        open_shares(item.manifest, item.record.envelopes, readers, OWNER, _FullSink())


class _Failing:
    """A share whose store fails from the n-th read on."""

    def __init__(self, data: bytes, after: int, error: type[MedveilError]) -> None:
        self._share, self._left, self._error = BytesShare(data), after, error
        self.size = len(data)

    def read(self, offset: int, length: int, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise self._error("it is gone")
        return self._share.read(offset, length)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(StoreUnavailableError, FindingKind.UNREACHABLE), (ObjectMissingError, FindingKind.MISSING)],
)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_store_that_fails(after: int, error: type[MedveilError], kind: FindingKind, shared_data: Path) -> None:
    item = make(load(shared_data, CT))
    readers = {index: BytesShare(data) for index, data in enumerate(item.shares, start=1)}
    failing = readers | {2: _Failing(item.shares[1], after, error)}
    opened = open_shares(item.manifest, item.record.envelopes, failing, OWNER)  # type: ignore[arg-type]
    assert opened.original == item.original
    assert {(f.kind, f.part) for f in opened.findings} == {(kind, 2)}
    failing = {j: _Failing(item.shares[j - 1], after, error) for j in (1, 2)} | {3: readers[3]}
    with pytest.raises(UnrecoverableError):
        open_shares(item.manifest, item.record.envelopes, failing, OWNER)  # type: ignore[arg-type]


def test_only_what_was_asked_for_is_missed(shared_data: Path) -> None:
    item = make(load(shared_data, CT))
    readers = {index: BytesShare(item.shares[index - 1]) for index in (1, 2)}
    assert open_shares(item.manifest, item.record.envelopes, readers, OWNER, expected=(1, 2)).findings == ()
    assert check_share(item.manifest, 1, readers[1]) == ()


def test_progress_is_told(shared_data: Path) -> None:
    told: list[tuple[int, int]] = []
    sinks = [io.BytesIO() for _ in range(4)]
    record = seal(
        load(shared_data, CT),
        sinks,
        owner=OWNER,
        options=SealOptions(chunk=4096),
        progress=lambda done, total: told.append((done, total)),
    )
    shares = {index: BytesShare(sink.getvalue()) for index, sink in enumerate(sinks, start=1)}
    assert told[-1] == (record.parsed.padded_len, record.parsed.padded_len)
    assert told == sorted(told)
    told.clear()
    open_shares(record.parsed, record.envelopes, shares, OWNER, progress=lambda d, t: told.append((d, t)))
    assert told[-1] == (record.parsed.padded_len, record.parsed.padded_len)


def test_nothing_unverified_reaches_the_sink(shared_data: Path) -> None:
    """What was written before a refusal is a prefix of the file."""
    item = make(load(shared_data, CT), codec="none")
    last = item.manifest.layout.count - 2
    at = item.manifest.layout.place(last)
    readers = {j: BytesShare(flip(item.shares[j - 1], at)) for j in (1, 2)} | {3: BytesShare(item.shares[2])}
    out = io.BytesIO()
    with pytest.raises(UnrecoverableError):
        open_shares(item.manifest, item.record.envelopes, readers, OWNER, out)
    assert item.original.startswith(out.getvalue())


def test_rebuild_of_two_at_once_and_of_none(shared_data: Path) -> None:
    item = make(load(shared_data, CT), (2, 4))
    readers = {index: BytesShare(item.shares[index - 1]) for index in (2, 4)}
    sinks = {1: io.BytesIO(), 3: io.BytesIO()}
    rebuild(item.manifest, readers, sinks)
    assert {index: sink.getvalue() for index, sink in sinks.items()} == {1: item.shares[0], 3: item.shares[2]}
    with pytest.raises(InputError):
        rebuild(item.manifest, readers, {5: io.BytesIO()})
    with pytest.raises(UnrecoverableError):
        rebuild(item.manifest, {2: readers[2]}, {1: io.BytesIO()})


# -------------------------------------------------------------------------------------------------------- folders


@pytest.fixture
def folder(tmp_path: Path, shared_data: Path) -> Path:
    found = tmp_path / "693_UNCR.dcm"
    found.mkdir()
    Sealed().protect_folder(
        shared_data / "dicom_zoo" / CT, found, owner=OWNER, roi=(Rectangle(9, 9, 99, 99),), progress=None
    )
    return found


def test_a_folder_of_parts(folder: Path, tmp_path: Path, shared_data: Path) -> None:
    original = (shared_data / "dicom_zoo" / CT).read_bytes()
    assert sorted(p.name for p in folder.iterdir()) == ["manifest", "part-1", "part-2", "part-3", "part-4"]
    restored = Sealed().restore_folder(folder, owner=OWNER, out=tmp_path / "out", partial=False, progress=None)
    assert (tmp_path / "out").read_bytes() == original
    assert restored.findings == ()
    assert isinstance(restored.image, MedicalImage)
    checked = Sealed().verify_folder(folder, owner=OWNER, progress=None)
    assert checked.findings == ()
    assert checked.tamper_map is not None
    assert checked.tamper_map.clean
    assert Sealed().verify_folder(folder, owner=None, progress=None).findings == ()
    with pytest.raises(WrongKeyError):
        Sealed().restore_folder(folder, owner=STRANGER, out=tmp_path / "x", partial=False, progress=None)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path, at: int) -> None:
    path.write_bytes(flip(path.read_bytes(), at))


def _swap(one: Path, two: Path) -> None:
    left, right = one.read_bytes(), two.read_bytes()
    one.write_bytes(right)
    two.write_bytes(left)


FOLDER_FAULTS = {
    "manifest gone": (lambda f: (f / "manifest").unlink(), {("missing", None, "manifest")}),
    "manifest changed": (lambda f: _flip(f / "manifest", 300), {("tamper", None, "manifest")}),
    "manifest emptied": (lambda f: (f / "manifest").write_bytes(b""), {("tamper", None, "manifest")}),
    "manifest grown": (
        lambda f: (f / "manifest").write_bytes((f / "manifest").read_bytes() + b"x"),
        {("tamper", None, "manifest")},
    ),
    "two parts gone": (
        lambda f: [(f / f"part-{j}").unlink() for j in (1, 3)],
        {("missing", 1, None), ("missing", 3, None)},
    ),
    "record in a part changed": (lambda f: _flip(f / "part-2", 200), {("tamper", 2, "record")}),
    "signature in a part changed": (lambda f: _flip(f / "part-2", 3000), {("tamper", 2, "record")}),
    "envelope in a part changed": (lambda f: _flip(f / "part-2", 4700), {("tamper", 2, "record")}),
    "a part changed": (lambda f: _flip(f / "part-3", 20000), {("tamper", 3, 0)}),
    "a part cut": (lambda f: _cut(f / "part-4"), {("truncated", 4, None)}),
    "a part emptied": (
        lambda f: (f / "part-4").write_bytes(b""),
        {("truncated", 4, None), ("tamper", 4, "record")},
    ),
    "parts swapped": (lambda f: _swap(f / "part-1", f / "part-2"), {("swapped", 1, None), ("swapped", 2, None)}),
    "a part renamed": (
        lambda f: (f / "part-1").rename(f / "part-7"),
        {("swapped", 7, None)},
    ),
    "a part with a suffix": (lambda f: (f / "part-1").rename(f / "part-1.bin"), set()),
    "all records changed, the manifest is whole": (
        lambda f: [_flip(f / f"part-{j}", 200) for j in (1, 2, 3, 4)],
        {("tamper", j, "record") for j in (1, 2, 3, 4)},
    ),
}


@pytest.mark.parametrize("name", FOLDER_FAULTS)
def test_folder_faults(name: str, folder: Path, tmp_path: Path, shared_data: Path) -> None:
    fault, expected = FOLDER_FAULTS[name]
    fault(folder)
    restored = Sealed().restore_folder(folder, owner=OWNER, out=tmp_path / "out", partial=False, progress=None)
    assert (tmp_path / "out").read_bytes() == (shared_data / "dicom_zoo" / CT).read_bytes()
    found = {(f.kind.value, f.part, f.place if f.place is not None else f.chunk) for f in restored.findings}
    assert found == expected
    checked = Sealed().verify_folder(folder, owner=None, progress=None)
    assert {(f.kind.value, f.part) for f in checked.findings} == {(kind, part) for kind, part, _ in expected}


def test_a_folder_beyond_repair(folder: Path, tmp_path: Path) -> None:
    for index in (1, 2, 3):
        (folder / f"part-{index}").unlink()
    with pytest.raises(UnrecoverableError):
        Sealed().restore_folder(folder, owner=OWNER, out=tmp_path / "out", partial=False, progress=None)
    (folder / "part-4").unlink()
    with pytest.raises(UnrecoverableError):
        Sealed().restore_folder(folder, owner=OWNER, out=tmp_path / "out", partial=False, progress=None)
    (folder / "manifest").unlink()
    with pytest.raises(UnrecoverableError):
        Sealed().verify_folder(folder, owner=None, progress=None)


def test_a_folder_of_a_stranger(folder: Path, tmp_path: Path, shared_data: Path) -> None:
    """Everything replaced by what another owner signed: refused. One part of his: named."""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    Sealed().protect_folder(shared_data / "dicom_zoo" / CT, foreign, owner=STRANGER, roi=(), progress=None)
    with pytest.raises(NotAuthenticError):
        Sealed().restore_folder(foreign, owner=OWNER, out=tmp_path / "out", partial=False, progress=None)
    shutil.copy(foreign / "part-2", folder / "part-2")
    restored = Sealed().restore_folder(folder, owner=OWNER, out=tmp_path / "out", partial=False, progress=None)
    assert {(f.kind.value, f.part) for f in restored.findings} == {("foreign", 2)}
    shutil.copy(foreign / "manifest", folder / "manifest")
    restored = Sealed().restore_folder(folder, owner=OWNER, out=tmp_path / "out2", partial=False, progress=None)
    assert {(f.kind.value, f.part) for f in restored.findings} == {("foreign", 2), ("tamper", None)}


def test_partial_restore_of_a_folder(folder: Path, tmp_path: Path, shared_data: Path) -> None:
    size = (folder / "part-1").stat().st_size
    for index in (1, 2, 3):
        _flip(folder / f"part-{index}", size // 2)
    with pytest.raises(UnrecoverableError):
        Sealed().restore_folder(folder, owner=OWNER, out=tmp_path / "out", partial=False, progress=None)
    restored = Sealed().restore_folder(folder, owner=OWNER, out=tmp_path / "part", partial=True, progress=None)
    assert not restored.exact
    assert restored.tamper_map is not None
    assert restored.tamper_map.lost.any()
    assert (tmp_path / "part").stat().st_size == (shared_data / "dicom_zoo" / CT).stat().st_size


# ---------------------------------------------------------------------------------------------------------- parts


def test_the_spool_gives_back_what_it_took() -> None:
    """Beyond its memory it writes only ciphertext."""
    spool = Spool(memory=1000)
    pieces = [bytes([n]) * (n * 100) for n in range(40)] + [b"canary " * 400_000]
    for piece in pieces:
        spool.append(piece)
    assert spool.length == sum(map(len, pieces))
    for _ in range(2):
        assert b"".join(spool.read()) == b"".join(pieces)
    assert spool._file is not None
    spool._file.seek(0)
    assert b"canary" not in spool._file.read()
    spool.close()


def test_work_stays_in_order_and_errors_pass() -> None:
    assert list(ordered(lambda n: n * n, range(100), window=4)) == [n * n for n in range(100)]
    with pytest.raises(ZeroDivisionError):
        list(ordered(lambda n: 1 // (50 - n), range(100), window=4))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_its_own_threads(shared_data: Path) -> None:
    image = load(shared_data, CT)
    make(image)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if make(image).open().original == image.original else 1)  # type: ignore[union-attr]
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_the_manifest_of_a_folder_verifies(folder: Path) -> None:
    from medveil.schemes.sealed import MANIFEST_MAGIC, unpack_record

    record = unpack_record((folder / "manifest").read_bytes(), MANIFEST_MAGIC)
    assert Manifest.verify(record.manifest, OWNER.public).n == 4
