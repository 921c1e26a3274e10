"""Torch, where it is installed; nothing else of this room imports it before asking here."""

from __future__ import annotations

from typing import Any

from medveil.errors import MissingExtraError


def need_torch() -> Any:
    """Return the module torch. Raises MissingExtraError, which names the command that installs it."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("deep-learning encryption", "learn") from error
    return torch
