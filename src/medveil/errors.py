"""Every error that medveil raises on purpose, in one tree with one base.

::

    MedveilError                     exit
    ├── UsageError                     2   the call was wrong; nothing was done
    │   ├── ConfigError                    a configuration file or value
    │   ├── InputError                     an input that cannot be read as what it claims to be
    │   ├── OutputExistsError              would overwrite; needs an explicit force
    │   └── RandomnessError                seeded randomness outside tests and experiments
    ├── RefusedError                   3   not authentic, or not allowed; nothing was handed out
    │   ├── NotAuthenticError              any cryptographic check failed
    │   │   ├── WrongKeyError              the key, recipient or passphrase does not open this
    │   │   ├── TamperedError              bytes were changed, swapped, truncated or added
    │   │   ├── StaleError                 an old version was offered as the current one
    │   │   ├── IncompleteResultError      an index withheld rows that belong to an answer
    │   │   └── FormatError                not in canonical form, unknown version or suite
    │   ├── RollbackError                  the whole history went back without an owner's acceptance
    │   ├── ForkError                      two histories signed by the owner disagree
    │   ├── PolicyError                    a policy denies it
    │   └── LimitError                     larger than the documented bound; refused before allocation
    ├── UnrecoverableError             4   too few intact parts, or damaged beyond repair
    ├── UnsupportedError               5   a form of input or a feature that medveil does not handle
    │   └── MissingExtraError              an optional package is not installed
    ├── StoreError                     6   a store did not do what was asked
    │   ├── StoreUnavailableError          unreachable, hanging, refusing credentials or out of patience
    │   ├── ObjectMissingError             there is no such object
    │   ├── ObjectExistsError              the name is taken; names are written once
    │   └── StoreFullError                 no space or quota left
    ├── ConflictError                  7   another writer got there first; retry on the new state
    └── ProtocolError                  8   another party of a computation failed or misbehaved

Messages say what was wrong, why, and what to do: lower case, no full stop, never a secret.
All causes of a wrong key raise the same class with the same message, so that an attacker learns nothing
from the difference.
"""

from __future__ import annotations

from typing import ClassVar


class MedveilError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the command line returns for it."""

    exit_code: ClassVar[int] = 1


class UsageError(MedveilError):
    """The call was wrong; nothing was done."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file or value is not valid."""


class InputError(UsageError):
    """An input cannot be read as what it claims to be."""


class OutputExistsError(UsageError):
    """The output exists already and would be overwritten."""


class RandomnessError(UsageError):
    """Seeded randomness was asked for outside tests and experiments."""


class RefusedError(MedveilError):
    """Not authentic or not allowed; nothing was handed out."""

    exit_code = 3


class NotAuthenticError(RefusedError):
    """A cryptographic check failed."""


class WrongKeyError(NotAuthenticError):
    """The key, recipient or passphrase does not open this."""


class TamperedError(NotAuthenticError):
    """Bytes were changed, swapped, truncated or added."""


class StaleError(NotAuthenticError):
    """An old version was offered as the current one."""


class IncompleteResultError(NotAuthenticError):
    """An index withheld rows that belong to an answer."""


class FormatError(NotAuthenticError):
    """Not in canonical form, or of an unknown version or suite."""


class RollbackError(RefusedError):
    """The whole history went back without an owner's signed acceptance."""


class ForkError(RefusedError):
    """Two histories signed by the owner disagree."""


class PolicyError(RefusedError):
    """A policy denies it."""


class LimitError(RefusedError):
    """Larger than the documented bound; refused before anything was allocated."""


class UnrecoverableError(MedveilError):
    """Too few intact parts, or damage beyond repair."""

    exit_code = 4


class UnsupportedError(MedveilError):
    """A form of input or a feature that medveil does not handle."""

    exit_code = 5


class MissingExtraError(UnsupportedError):
    """An optional package is not installed; the message names the command that installs it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional package: install it with pip install 'medveil[{extra}]'")
        self.extra = extra


class StoreError(MedveilError):
    """A store did not do what was asked."""

    exit_code = 6


class StoreUnavailableError(StoreError):
    """A store is unreachable, hanging, refusing credentials or out of patience.

    transient: whether asking again may help. retry_after: seconds that the store asked to wait, if it did.
    """

    def __init__(self, message: str, *, transient: bool = True, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.transient = transient
        self.retry_after = retry_after


class ObjectMissingError(StoreError):
    """There is no such object in the store."""


class ObjectExistsError(StoreError):
    """The object's name is taken; names are written once."""


class StoreFullError(StoreError):
    """The store has no space or quota left."""


class ConflictError(MedveilError):
    """Another writer got there first."""

    exit_code = 7


class ProtocolError(MedveilError):
    """Another party of a computation failed or misbehaved."""

    exit_code = 8
