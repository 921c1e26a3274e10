"""Where evidence comes from: one file a provider. `open_provider` finds one by its name."""

from __future__ import annotations

from medveil.attestation.providers.base import Provider
from medveil.attestation.providers.gramine import GramineProvider
from medveil.attestation.providers.tsm import TsmProvider
from medveil.errors import InputError

HARDWARE: dict[str, type[GramineProvider] | type[TsmProvider]] = {"gramine": GramineProvider, "tsm": TsmProvider}
"""Name -> provider of real evidence. The simulated one is not here: it is only opened by its own class."""


def open_provider(name: str) -> Provider:
    """Return the hardware provider `name` at its standard place.

    Raises InputError for an unknown name; `simulated` needs its platform (`providers.simulated.SimulatedProvider`).
    """
    if name not in HARDWARE:
        raise InputError(f"there is no hardware provider {name!r}: choose one of {', '.join(sorted(HARDWARE))}")
    return HARDWARE[name]()
