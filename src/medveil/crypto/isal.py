"""Two ways to ISA-L's Reed-Solomon arithmetic: the library itself, or pyeclib's interface to it.

`DirectKernel` calls `ec_encode_data` of the shared library that pyeclib's wheel carries; it reads and writes our
buffers in place and lets other threads run. `PyeclibKernel` uses pyeclib's public interface, which wants and
returns `bytes` behind headers and so copies everything once or twice. Both give the same bytes (tested against
each other and against plain Python).

pyeclib's C code aborts the process where a fragment is not `bytes`, so nothing else is ever handed to it.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import struct
import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final, Protocol

import numpy as np

from medveil.errors import UnsupportedError

Buffer = bytes | bytearray | memoryview
Matrix = tuple[tuple[int, ...], ...]

_POLYNOMIAL: Final = 0x11D


class Kernel(Protocol):
    """The arithmetic of one code. Arguments are checked by the caller: 2 <= k < n <= 32, equal positive lengths."""

    def parity(self, k: int, n: int, data: memoryview, pieces: Sequence[Buffer]) -> list[bytes]:
        """Return the n - k parity fragments of `data`, which `pieces` is a cut of."""
        ...

    def parity_into(
        self, k: int, n: int, data: memoryview, pieces: Sequence[Buffer], out: Sequence[memoryview]
    ) -> None:
        """Write the n - k parity fragments to `out`."""
        ...

    def make(self, k: int, n: int, have: Mapping[int, Buffer], wanted: Sequence[int], size: int) -> list[bytes]:
        """Return the fragments numbered `wanted` from the k fragments that are there."""
        ...

    def make_into(
        self, k: int, n: int, have: Mapping[int, Buffer], wanted: Sequence[int], out: Sequence[memoryview]
    ) -> None:
        """Write the fragments numbered `wanted` to `out`."""
        ...


class DirectKernel:
    """ISA-L called in place. `library` is the loaded shared library."""

    __slots__ = ("_encode", "_init", "_tables")

    def __init__(self, library: ctypes.CDLL) -> None:
        self._init = library.ec_init_tables
        self._init.restype = None
        self._init.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p]
        self._encode = library.ec_encode_data
        self._encode.restype = None
        self._encode.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_char_p, *[ctypes.c_void_p] * 2]
        self._tables = lru_cache(maxsize=256)(self._expand)

    def parity(self, k: int, n: int, data: memoryview, pieces: Sequence[Buffer]) -> list[bytes]:
        """Return the parity fragments; see `Kernel`."""
        del data
        return self._fresh(parity_rows(k, n), pieces)

    def parity_into(
        self, k: int, n: int, data: memoryview, pieces: Sequence[Buffer], out: Sequence[memoryview]
    ) -> None:
        """Write the parity fragments; see `Kernel`."""
        del data
        self._into(parity_rows(k, n), pieces, out)

    def make(self, k: int, n: int, have: Mapping[int, Buffer], wanted: Sequence[int], size: int) -> list[bytes]:
        """Return missing fragments; see `Kernel`."""
        del size
        return self._fresh(rows_from(k, n, tuple(have), tuple(wanted)), list(have.values()))

    def make_into(
        self, k: int, n: int, have: Mapping[int, Buffer], wanted: Sequence[int], out: Sequence[memoryview]
    ) -> None:
        """Write missing fragments; see `Kernel`."""
        self._into(rows_from(k, n, tuple(have), tuple(wanted)), list(have.values()), out)

    def _fresh(self, rows: Matrix, inputs: Sequence[Buffer]) -> list[bytes]:
        size, count = len(inputs[0]), len(rows)
        out = np.empty((count, size), np.uint8)
        base = out.__array_interface__["data"][0]
        self._multiply(rows, inputs, size, _POINTERS[count](*range(base, base + count * size, size)))
        return [row.tobytes() for row in out]

    def _into(self, rows: Matrix, inputs: Sequence[Buffer], out: Sequence[memoryview]) -> None:
        self._multiply(rows, inputs, len(inputs[0]), _POINTERS[len(out)](*map(_address, out)))

    def _multiply(self, rows: Matrix, inputs: Sequence[Buffer], size: int, targets: Any) -> None:
        """Write sum_j rows[i][j] * inputs[j] to the i-th target; the callers keep all buffers alive meanwhile."""
        count = len(inputs)
        if all(type(data) is bytes for data in inputs):
            sources = _TEXTS[count](*inputs)
        else:
            sources = _POINTERS[count](*map(_address, inputs))
        self._encode(size, count, len(rows), self._tables(rows), sources, targets)

    def _expand(self, rows: Matrix) -> bytes:
        """Return ISA-L's lookup tables of a matrix: 32 bytes an element."""
        count, width = len(rows), len(rows[0])
        tables = ctypes.create_string_buffer(32 * count * width)
        self._init(width, count, b"".join(map(bytes, rows)), tables)
        return tables.raw


# Arrays of addresses, by length; of `bytes` objects ctypes takes the address itself.
_POINTERS: Final = [ctypes.c_void_p * count for count in range(33)]
_TEXTS: Final[list[Any]] = [ctypes.c_char_p * count for count in range(33)]


def _address(data: Buffer) -> int:
    """Return where a non-empty buffer lies in memory."""
    if isinstance(data, bytes) or (isinstance(data, memoryview) and data.readonly):
        return int(np.frombuffer(data, np.uint8).__array_interface__["data"][0])
    return ctypes.addressof(ctypes.c_char.from_buffer(data))  # several times quicker, for writable buffers only


class PyeclibKernel:
    """ISA-L through pyeclib's public interface, its headers stripped and made again."""

    __slots__ = ()

    def parity(self, k: int, n: int, data: memoryview, pieces: Sequence[Buffer]) -> list[bytes]:
        """Return the parity fragments; see `Kernel`."""
        del pieces
        return [fragment[_HEADER.size :] for fragment in _driver(k, n).encode(bytes(data))[k:]]

    def parity_into(
        self, k: int, n: int, data: memoryview, pieces: Sequence[Buffer], out: Sequence[memoryview]
    ) -> None:
        """Write the parity fragments; see `Kernel`."""
        for target, fragment in zip(out, self.parity(k, n, data, pieces), strict=True):
            target[:] = fragment

    def make(self, k: int, n: int, have: Mapping[int, Buffer], wanted: Sequence[int], size: int) -> list[bytes]:
        """Return missing fragments; see `Kernel`."""
        framed = [_header(k, n, number, size) + bytes(fragment) for number, fragment in have.items()]
        driver = _driver(k, n)
        return [driver.reconstruct(framed, [number])[0][_HEADER.size :] for number in wanted]

    def make_into(
        self, k: int, n: int, have: Mapping[int, Buffer], wanted: Sequence[int], out: Sequence[memoryview]
    ) -> None:
        """Write missing fragments; see `Kernel`."""
        size = out[0].nbytes
        for target, fragment in zip(out, self.make(k, n, have, wanted, size), strict=True):
            target[:] = fragment


# liberasurecode's fragment header: number, length, backend metadata length, length of the data, checksum type and
# eight checksums, mismatch, backend, its version | magic, library version, CRC-32 of the first 59 bytes, padding.
_HEADER: Final = struct.Struct("<IIIQ39sIII9s")
_CHECKED: Final = 59
_local = threading.local()


def _driver(k: int, n: int) -> Any:
    """Return this thread's driver of a code; drivers are not shared, since their thread safety is undocumented."""
    drivers: dict[tuple[int, int], Any] = _local.__dict__.setdefault("drivers", {})
    if (k, n) not in drivers:
        from pyeclib.ec_iface import ECDriver, ECDriverError

        try:
            drivers[k, n] = ECDriver(k=k, m=n - k, ec_type="isa_l_rs_cauchy")
        except ECDriverError:
            raise UnsupportedError("this pyeclib has no ISA-L: install a wheel of pyeclib 1.7 or later") from None
    return drivers[k, n]


@lru_cache(maxsize=256)
def _template(k: int, n: int) -> tuple[bytes, int, int]:
    """Return the constant fields of the header as this library writes them: backend part, magic, version."""
    header = _driver(k, n).encode(bytes(k))[1][: _HEADER.size]
    number, size, extra, length, backend, magic, version, checksum, _ = _HEADER.unpack(header)
    if (number, size, extra, length, checksum) != (1, 1, 0, k, zlib.crc32(header[:_CHECKED])):
        raise UnsupportedError("this pyeclib writes fragment headers of an unknown form: use version 1.7 or later")
    return backend, magic, version


def _header(k: int, n: int, number: int, size: int) -> bytes:
    backend, magic, version = _template(k, n)
    checked = struct.pack("<IIIQ", number, size, 0, k * size) + backend
    return checked + _HEADER.pack(0, 0, 0, 0, b"", magic, version, zlib.crc32(checked[:_CHECKED]), b"")[_CHECKED:]


@cache
def best_kernel() -> Kernel:
    """Return the direct kernel where the library is there and agrees with pyeclib on a sample, else pyeclib's."""
    for path in _library_files():
        try:
            kernel = DirectKernel(ctypes.CDLL(path))
        except (OSError, AttributeError):
            continue
        sample = bytes(range(1, 97))
        view = memoryview(sample)
        if kernel.parity(2, 3, view, [view[:48], view[48:]]) == PyeclibKernel().parity(2, 3, view, []):
            return kernel
    return PyeclibKernel()


def _library_files() -> Iterable[str]:
    try:
        files = importlib.metadata.files("pyeclib") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [str(file.locate()) for file in files if file.name.startswith("libisal")]


def _gf_tables() -> tuple[list[int], list[int]]:
    powers, logarithms = [0] * 510, [0] * 256
    value = 1
    for exponent in range(255):
        powers[exponent] = powers[exponent + 255] = value
        logarithms[value] = exponent
        value <<= 1
        value ^= _POLYNOMIAL if value & 256 else 0
    return powers, logarithms


_POWERS, _LOGARITHMS = _gf_tables()


def _times(a: int, b: int) -> int:
    return _POWERS[_LOGARITHMS[a] + _LOGARITHMS[b]] if a and b else 0


def _inverse(a: int) -> int:
    return _POWERS[255 - _LOGARITHMS[a]]


@lru_cache(maxsize=512)
def parity_rows(k: int, n: int) -> Matrix:
    """Return the n - k rows of the Cauchy matrix: 1 / (i xor j) for i from k, j below k."""
    return tuple(tuple(_inverse(i ^ j) for j in range(k)) for i in range(k, n))


@lru_cache(maxsize=4096)
def rows_from(k: int, n: int, have: tuple[int, ...], wanted: tuple[int, ...]) -> Matrix:
    """Return the rows that make the fragments `wanted` from the k fragments `have`."""
    unit = tuple(tuple(int(i == j) for j in range(k)) for i in range(k))
    generator = unit + parity_rows(k, n)
    inverse = _inverted([list(generator[number]) for number in have])
    columns = list(zip(*inverse, strict=True))
    return tuple(tuple(_dot(generator[number], column) for column in columns) for number in wanted)


def _dot(row: Sequence[int], column: Sequence[int]) -> int:
    total = 0
    for a, b in zip(row, column, strict=True):
        total ^= _times(a, b)
    return total


def _inverted(matrix: list[list[int]]) -> list[list[int]]:
    """Return the inverse by Gauss and Jordan; every matrix that occurs here has one."""
    size = len(matrix)
    rows = [row + [int(i == j) for j in range(size)] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(i for i in range(column, size) if rows[i][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        scale = _inverse(rows[column][column])
        rows[column] = [_times(scale, value) for value in rows[column]]
        for i in range(size):
            factor = rows[i][column]
            if i != column and factor:
                rows[i] = [value ^ _times(factor, own) for value, own in zip(rows[i], rows[column], strict=True)]
    return [row[size:] for row in rows]
