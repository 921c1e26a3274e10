"""The other place of `measures.portability`: reads a job from stdin, prints a digest. Not for people."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import numpy as np

from medveil.evaluation.measures.bench import image_of
from medveil.evaluation.measures.portability import digest_of, digest_of_parts
from medveil.evaluation.subjects import load
from medveil.imaging.image import MedicalImage
from medveil.schemes.base import Part, Secret


def main(job: dict[str, Any]) -> str:
    """Restore parts, or encrypt a picture under a key, and return the digest of what came out."""
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in job["options"].items()}
    cls = load(job["scheme"])
    if "picture" in job:
        picture = np.frombuffer(base64.b64decode(job["picture"]), np.uint8).reshape(job["shape"])
        scheme = cls.for_evaluation(**options, key=base64.b64decode(job["key"]))
        return digest_of_parts(scheme.protect(image_of(picture)).parts)
    parts = [Part(i, base64.b64decode(data), media, suffix) for i, data, media, suffix in job["parts"]]
    secret = Secret(job["of"], base64.b64decode(job["secret"]))
    back = cls.for_evaluation(**options).restore(parts, secret).image
    return digest_of(back) if isinstance(back, MedicalImage) else ""


if __name__ == "__main__":
    sys.stdout.write(main(json.loads(sys.stdin.read())) + "\n")
