"""The members of this family, for the registry."""

from __future__ import annotations

from typing import Final

MEMBERS: Final = ("tanaka", "skk", "smoothed", "ele", "etc", "patchwise")
