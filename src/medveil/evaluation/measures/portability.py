"""Whether parts are restored alike elsewhere: in a fresh process, with other threads, and as on an old processor.

`python -m medveil.evaluation.elsewhere` is that other place; keys made for the evaluation reach it over its stdin.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from typing import Any, Final

import numpy as np

from medveil.attacks.material import takes_data_set_key
from medveil.errors import ProtocolError
from medveil.evaluation.measures.bench import Bench, Measure, Measured, contents, image_of, keyed
from medveil.imaging.image import MedicalImage

# A plain x86-64 of 2008, as far as the libraries can be told: numba, PyTorch, oneDNN, MKL, OpenBLAS.
_OLD: Final = {
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_CPU_FEATURES": "+sse2",
    "ATEN_CPU_CAPABILITY": "default",
    "DNNL_MAX_CPU_ISA": "SSE41",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "OPENBLAS_CORETYPE": "Prescott",
}
_PLACES: Final = {
    "one thread": {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
    "old processor, two threads": _OLD | {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"},
}
_PATIENCE: Final = 300


def take(bench: Bench) -> Measured:
    """Restore here and in the other places, and compare digests; of one-way schemes encrypt under one key."""
    picture = bench.corpus.images[0]
    scheme = bench.subject.make()
    job: dict[str, Any] = {"scheme": bench.subject.scheme, "options": dict(bench.subject.options)}
    if scheme.claim.one_way:
        if not takes_data_set_key(bench.subject.load()):
            return Measured({"portable": None}, note="nothing is restored, and no key can be given to compare with")
        key = bench.rng.bytes(32)
        job |= {"key": _text(key), "picture": _text(picture.tobytes()), "shape": picture.shape}
        parts = [keyed(bench.subject, key).protect(image_of(picture)).parts for _ in range(2)]
        here, once_more = (digest_of_parts(p) for p in parts)
        if here != once_more:
            return Measured({"portable": None}, note="nothing is restored, and encryption is randomised under one key")
    else:
        protected = scheme.protect(image_of(picture))
        back = scheme.restore(protected.parts, protected.secret).image
        here = digest_of(back) if isinstance(back, MedicalImage) else ""
        parts_said = [[p.index, _text(p.data), p.media_type, p.suffix] for p in protected.parts]
        job |= {"parts": parts_said, "secret": _text(protected.secret.data), "of": protected.secret.scheme}
    found = {place: _elsewhere(job, environment) for place, environment in _PLACES.items()}
    out = Measured({f"same_with_{place.replace(',', '').replace(' ', '_')}": d == here for place, d in found.items()})
    out.values["portable"] = all(d == here for d in found.values())
    return out


def _elsewhere(job: dict[str, Any], environment: dict[str, str]) -> str:
    """Return the digest that another process reports. Raises ProtocolError where it fails."""
    given = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(  # our own interpreter and module
        [sys.executable, "-m", "medveil.evaluation.elsewhere"],
        input=json.dumps(job).encode(),
        capture_output=True,
        env=given,
        timeout=_PATIENCE,
        check=False,
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise ProtocolError(f"restoring in another process failed: {last[0]}")
    return done.stdout.decode().strip()


def digest_of(image: MedicalImage) -> str:
    """Return SHA-256 of shape, type and pixels."""
    h = hashlib.sha256(repr((image.pixels.shape, image.pixels.dtype.str)).encode())
    h.update(np.ascontiguousarray(image.pixels).tobytes())
    return h.hexdigest()


def digest_of_parts(parts: Any) -> str:
    """Return SHA-256 of what the parts hold."""
    return hashlib.sha256(b"".join(contents(part).tobytes() for part in parts)).hexdigest()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


MEASURE = Measure(
    "portability",
    "The same elsewhere",
    "Whether another process, with other threads and an older processor's instructions, gives the same pixels.",
    take,
    per_corpus=False,
)
