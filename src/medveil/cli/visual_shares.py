"""From share files on disk to an admitted set: who vouches for them, and which files belong to one picture."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medveil.errors import InputError, StaleError, UsageError

if TYPE_CHECKING:
    from medveil.attestation.policy import Policy
    from medveil.attestation.session import Session
    from medveil.crypto.keyfile import OwnerKey
    from medveil.schemes.visual.admission import Admitted
    from medveil.schemes.visual.carriers import ShareFile

Sessions = Annotated[
    list[Path] | None, typer.Option("--session", help="A signing session that shares refer to; may be repeated.")
]
Chains = Annotated[
    list[Path] | None,
    typer.Option("--chain", help="Certificates of a platform (PEM), for compact proofs; may be repeated."),
]
Results = Annotated[
    list[Path] | None,
    typer.Option("--result", help="A signed verification result that stands for collateral; may be repeated."),
]
ResultKey = Annotated[
    Path | None, typer.Option("--result-key", help="The public key of who signed the results, from keygen --public.")
]
_MAX_FILE = 1 << 31


@dataclass(frozen=True, slots=True)
class Job:
    """The share files of one picture, the file to write, and whether the files are all that a folder holds."""

    files: list[Path]
    target: Path
    whole: bool


@dataclass(frozen=True, slots=True)
class Attesting:
    """A policy and what stands behind evidence: collateral (a file or folder), or results that were signed earlier.

    sessions, chains: what proofs may refer to. results: signed results with the public keys of their verifiers.
    """

    policy: Policy
    collateral: Path | None
    sessions: tuple[Session, ...] = ()
    chains: tuple[bytes, ...] = ()
    results: tuple[tuple[bytes, Any], ...] = ()

    def arguments(self, files: Sequence[Path]) -> dict[str, Any]:
        """Return what `verify_shares` and `admission.by_attestation` take, now; `files`: the shares' own."""
        from medveil.attestation.files import find_collateral, read_bounded
        from medveil.attestation.quote import MAX_QUOTE
        from medveil.schemes.bundle import PUBLIC

        now, folder = int(time.time()), self.collateral

        def collateral(evidence: Any) -> Any:
            if folder is None:
                raise StaleError("no signed result stands for this evidence, and no collateral was given")
            return find_collateral(folder, evidence, now)

        beside = {path.parent / PUBLIC for path in files}
        found = tuple(read_bounded(path, MAX_QUOTE) for path in sorted(beside) if path.is_file())
        return {"collateral": collateral, "now": now, "chains": self.chains + found, "results": self.results}


def attesting(
    policy: Path,
    collateral: Path | None,
    sessions: Sequence[Path] | None,
    chains: Sequence[Path] | None,
    results: Sequence[Path] | None,
    result_key: Path | None,
) -> Attesting:
    """Read what the options of an attested verification name. Raises UsageError where they do not fit together."""
    from medveil.attestation.eat import MAX_TOKEN
    from medveil.attestation.files import read_bounded
    from medveil.attestation.policy import load_policy
    from medveil.attestation.quote import MAX_QUOTE
    from medveil.crypto.keyfile import OwnerPublic

    if bool(results) != (result_key is not None):
        raise UsageError("--result and --result-key belong together: the verifier's public key, from keygen --public")
    if collateral is None and not results:
        raise UsageError("--policy needs --collateral, or signed results by --result and --result-key")
    key = None if result_key is None else OwnerPublic.from_bytes(read_bounded(result_key, 1 << 16)).verifying
    return Attesting(
        load_policy(policy),
        collateral,
        tuple(read_session(path) for path in sessions or ()),
        tuple(read_bounded(path, MAX_QUOTE) for path in chains or ()),
        tuple((read_bounded(path, MAX_TOKEN), key) for path in results or ()),
    )


@dataclass(frozen=True, slots=True)
class Trust:
    """How shares are verified: by the owner's key and the manifest, by attestation, or where both are None not at all.

    manifest: where it does not lie beside the first share.
    """

    owner: OwnerKey | None = None
    manifest: Path | None = None
    attesting: Attesting | None = None

    def admit(self, job: Job) -> Admitted:
        """Verify the shares of one picture; raises what `medveil.schemes.visual.admission` raises."""
        from medveil.schemes.visual import admission

        if self.owner is not None:
            return self._by_key(job, self.owner)
        shares = [read_share(path) for path in job.files]
        if self.attesting is None:
            return admission.insecurely(shares)
        given = self.attesting
        return admission.by_attestation(shares, given.policy, sessions=given.sessions, **given.arguments(job.files))

    def _by_key(self, job: Job, owner: OwnerKey) -> Admitted:
        from medveil.attestation.files import read_bounded
        from medveil.schemes import bundle
        from medveil.schemes.base import Part
        from medveil.schemes.visual.secret import OwnerRecord

        folder = job.files[0].parent
        raw = bundle.read_manifest(folder) if self.manifest is None else read_bounded(self.manifest, 64 << 20)
        record, secret = bundle.open_manifest(raw, owner)
        if record.scheme != "visual":
            raise UsageError(f"the parts are of scheme {record.scheme}: use medveil restore")
        named = {path: index for index, path in bundle.part_files(folder).items()}
        parts = [
            Part(named[path], path.read_bytes()) if path in named else read_bounded(path, _MAX_FILE)
            for path in job.files
        ]
        return OwnerRecord.unpack(secret.data).admit(parts, all_of_them=job.whole)


def jobs(sources: Sequence[Path], out: Path, *, original: bool = False) -> Iterator[Job]:
    """Give the share files of each picture and the file to write: a PNG, or the original under its own name.

    Raises InputError for a folder without parts, UsageError for a mixture or where two pictures would be one file.
    """
    from medveil.schemes.bundle import part_files

    if not any(source.is_dir() for source in sources):
        yield Job(list(sources), out, whole=False)
        return
    if len(sources) != 1:
        raise UsageError("give either share files of one picture or one folder")
    (root,) = sources
    if own := list(part_files(root).values()):
        yield Job(own, out, whole=True)
        return
    folders = sorted({path.parent for path in root.rglob("part-*") if path.is_file()})
    if not folders:
        raise InputError(f"{root} holds no parts, neither itself nor below: give what protect wrote")
    seen: dict[Path, Path] = {}
    for folder in folders:
        name = folder.name if original or folder.name.lower().endswith(".png") else folder.name + ".png"
        target = out / folder.relative_to(root).with_name(name)
        if target in seen:
            raise UsageError(f"{seen[target]} and {folder} would both become {target}: restore them separately")
        seen[target] = folder
        yield Job(list(part_files(folder).values()), target, whole=True)


def read_share(path: Path) -> ShareFile:
    """Read a share file, with its sidecar where one lies beside it."""
    from medveil.attestation.files import read_bounded
    from medveil.schemes.visual import carriers
    from medveil.schemes.visual.envelope import MAX_ENVELOPE

    beside = path.with_name(path.name + carriers.SIDECAR_SUFFIX)
    sidecar = read_bounded(beside, MAX_ENVELOPE) if beside.is_file() else None
    return carriers.read(read_bounded(path, _MAX_FILE), sidecar)


def read_session(path: Path) -> Session:
    """Read a signing session's file."""
    from medveil.attestation.files import read_bounded
    from medveil.attestation.session import MAX_SESSION, Session

    return Session.decode(read_bounded(path, MAX_SESSION))
