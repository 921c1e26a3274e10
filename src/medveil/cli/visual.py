"""`medveil visual`: shares on paper, back from paper, and the picture that shares show."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medveil.cli import terminal
from medveil.cli.files import Force, show
from medveil.cli.keys import Json, open_owner
from medveil.errors import InputError, UsageError

if TYPE_CHECKING:
    from medveil.attestation.session import Session
    from medveil.crypto.keyfile import OwnerKey
    from medveil.schemes.base import Finding
    from medveil.schemes.visual.admission import Admitted
    from medveil.schemes.visual.carriers import ShareFile

group = typer.Typer(help="Visual cryptography: print shares, scan them, stack them.", no_args_is_help=True)

_MAX_FILE = 1 << 31
Sessions = Annotated[
    list[Path] | None, typer.Option("--session", help="A signing session that shares refer to; may be repeated.")
]


@group.command("print")
def print_(
    shares: Annotated[list[Path], typer.Argument(metavar="SHARE...", help="Share files, in the order of the pages.")],
    out: Annotated[Path, typer.Option("--out", help="The PDF to write.")],
    session_out: Annotated[
        Path | None, typer.Option("--session-out", help="Also write the signing session, which scanning needs.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write one page a share: the picture, four alignment marks, and the proof as a QR code."""
    from medveil.schemes.bundle import new_file
    from medveil.schemes.visual import sheet

    read = [read_share(path) for path in shares]
    data = sheet.pdf(read)
    sessions = {share.envelope.session for share in read if share.envelope is not None} - {b""}
    if session_out is not None and len(sessions) != 1:
        raise UsageError(f"the shares carry {len(sessions)} different sessions: print the shares of one image together")
    with new_file(out, force=force) as working:
        working.write_bytes(data)
    if session_out is not None:
        with new_file(session_out, force=force) as working:
            working.write_bytes(next(iter(sessions)))
    result = {"ok": True, "output": str(out), "pages": len(read), "bytes": len(data), "exit": 0}
    text = f"{out}: {len(read)} pages; print at the same scale, keep the pages apart"
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(text))


@group.command("scan")
def scan(
    page: Annotated[Path, typer.Argument(help="The scanned page, a picture.")],
    out: Annotated[Path, typer.Option("--out", help="The share to write, a PNG.")],
    session: Annotated[Path | None, typer.Option("--session", help="The signing session, from print.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Read a share from a scanned page; refused where its proof does not confirm every pixel."""
    from medveil.attestation.files import read_bounded
    from medveil.attestation.session import MAX_SESSION
    from medveil.imaging import reader
    from medveil.imaging.windowing import to_display
    from medveil.schemes.bundle import new_file
    from medveil.schemes.visual import admission, carriers
    from medveil.schemes.visual.scan import read_scan

    known = b"" if session is None else read_bounded(session, MAX_SESSION)
    share = read_scan(to_display(reader.read(page)), known)
    statement = admission.check_consistent(share)
    if share.envelope is None:
        raise InputError("the page carries no proof: scan it again")
    data = carriers.write("chunk", share.pixels, share.envelope.encode(), b"")
    with new_file(out, force=force) as working:
        working.write_bytes(data)
    result = {
        "ok": True,
        "output": str(out),
        "index": statement.index,
        "threshold": statement.threshold,
        "shares": statement.shares,
        "exit": 0,
    }
    text = f"{out}: share {statement.index} of {statement.shares}, every pixel as its proof says"
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(text))


@dataclass(frozen=True, slots=True)
class Trust:
    """How shares are verified: by the owner's key, under a policy, or not at all."""

    owner: OwnerKey | None = None
    policy: Path | None = None
    collateral: Path | None = None
    sessions: tuple[Path, ...] = ()
    insecure: bool = False


@group.command("restore")
def restore(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SHARE...|DIR", help="Share files; or a folder of parts, or a tree of such folders."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The PNG to write; for a tree, the folder.")],
    key: Annotated[Path | None, typer.Option("--key", help="The owner's key file: verifies by the manifest.")] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="An attestation policy: verifies without key.")
    ] = None,
    collateral: Annotated[Path | None, typer.Option("--collateral", help="Its collateral, a file or folder.")] = None,
    session: Sessions = None,
    insecure: Annotated[
        bool, typer.Option("--insecure-unverified", help="Verify nothing; the picture is marked.")
    ] = False,
    method: Annotated[str, typer.Option(help="stack, xor or descreen.")] = "descreen",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write the picture that verified shares show. It is never the original: medveil restore gives that.

    A tree of folders, as medveil protect makes it of a folder with one folder a class, keeps its shape.
    """
    if sum((key is not None, policy is not None, insecure)) != 1:
        raise UsageError("say how to verify: exactly one of --key, --policy and --insecure-unverified")
    if (policy is None) != (collateral is None):
        raise UsageError("--policy and --collateral belong together")
    trust = Trust(None if key is None else open_owner(key), policy, collateral, tuple(session or ()), insecure)
    written, findings = [], []
    for files, target in jobs(sources, out):
        found = restore_one(files, target, trust, method, force=force)
        findings += found
        written.append(str(target))
    code = terminal.exit_code(findings)
    result = {
        "ok": True,
        "outputs": written,
        "method": method,
        "findings": [finding.as_dict() for finding in findings],
        "exit": code,
    }

    def text() -> None:
        terminal.out.print(f"{out}: {len(written)} picture{'s' * (len(written) != 1)} by {method}, not for diagnosis")
        show(findings)

    terminal.emit(result, as_json=as_json, text=text)
    terminal.finish(code)


def jobs(sources: Sequence[Path], out: Path) -> Iterator[tuple[list[Path], Path]]:
    """Give the share files of each picture and the file to write."""
    from medveil.schemes.bundle import part_files

    if any(source.is_dir() for source in sources):
        if len(sources) != 1:
            raise UsageError("give either share files of one picture or one folder")
        (root,) = sources
        if own := list(part_files(root).values()):
            yield own, out
            return
        folders = sorted({path.parent for path in root.rglob("part-*") if path.is_file()})
        if not folders:
            raise InputError(f"{root} holds no parts, neither itself nor below: give what protect wrote")
        for folder in folders:
            relative = folder.relative_to(root)
            yield list(part_files(folder).values()), out / relative.with_name(relative.name + ".png")
        return
    yield list(sources), out


def restore_one(files: list[Path], target: Path, trust: Trust, method: str, *, force: bool) -> list[Finding]:
    """Write one picture and return what was noticed."""
    from medveil.imaging import raster
    from medveil.schemes.bundle import new_file
    from medveil.schemes.visual.restoring import visual_image

    admitted = admit(files, trust)
    image = visual_image(admitted, method)
    with new_file(target, force=force) as working:
        working.write_bytes(raster.encode_png(image.pixels[0]))
    return list(admitted.findings)


def admit(files: list[Path], trust: Trust) -> Admitted:
    """Verify the share files of one picture as the options say."""
    from medveil.schemes.visual import admission

    if trust.owner is not None:
        return _admit_by_key(files, trust.owner)
    shares = [read_share(path) for path in files]
    if trust.insecure:
        return admission.insecurely(shares)
    from medveil.attestation.files import find_collateral
    from medveil.attestation.policy import load_policy

    if trust.policy is None or trust.collateral is None:
        raise UsageError("--policy and --collateral belong together")
    now, folder = int(time.time()), trust.collateral

    def collateral(evidence: Any) -> Any:
        return find_collateral(folder, evidence, now)

    sessions = [read_session(path) for path in trust.sessions]
    return admission.by_attestation(
        shares, load_policy(trust.policy), collateral=collateral, now=now, sessions=sessions
    )


def _admit_by_key(files: list[Path], owner: OwnerKey) -> Admitted:
    from medveil.schemes import bundle
    from medveil.schemes.visual.secret import OwnerRecord

    record, secret = bundle.open_manifest(bundle.read_manifest(files[0].parent), owner)
    if record.scheme != "visual":
        raise UsageError(f"the parts are of scheme {record.scheme}: use medveil restore")
    parts, _ = record.match(bundle.read_parts(files[0].parent))
    return OwnerRecord.unpack(secret.data).admit(parts)


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


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(group, name="visual")
