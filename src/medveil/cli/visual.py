"""`medveil visual`: shares on paper, back from paper, and the picture that shares show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medveil.cli import terminal, visual_carriers, visual_verify
from medveil.cli.files import Force, file_bytes, show
from medveil.cli.keys import Json, open_owner
from medveil.cli.visual_shares import Chains, Job, ResultKey, Results, Sessions, Trust, attesting, jobs, read_share
from medveil.errors import (
    InputError,
    MedveilError,
    OutputExistsError,
    RefusedError,
    UnrecoverableError,
    UnsupportedError,
    UsageError,
)

if TYPE_CHECKING:
    from medveil.schemes.base import Finding

group = typer.Typer(help="Visual cryptography: print shares, scan them, carry them, stack them.", no_args_is_help=True)


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
    size = min(sheet.pixel_mm(*share.shape[:2]) for share in read)
    result = {
        "ok": True,
        "output": str(out),
        "pages": len(read),
        "bytes": len(data),
        "pixel_mm": round(size, 4),
        "scan_dpi": sheet.scan_dpi(size),
        "exit": 0,
    }

    def text() -> None:
        terminal.out.print(f"{out}: {len(read)} page{'s' * (len(read) != 1)}; print at 100 %, keep the pages apart")
        terminal.out.print(f"a pixel is {size:.2f} mm: scan at {sheet.scan_dpi(size)} dpi or more")
        if size < sheet.BY_HAND_MM:
            terminal.out.print(
                "too fine to stack by hand: for that protect with --option longest_side="
                f"{int(max(read[0].shape[:2]) * size / sheet.BY_HAND_MM)}"
            )
        if session_out is None and sessions:
            terminal.out.print("scanning also needs the signing session: print again with --session-out if it is lost")

    terminal.emit(result, as_json=as_json, text=text)


@group.command("scan")
def scan(
    pages: Annotated[list[Path], typer.Argument(metavar="PAGE...", help="Scanned pages: pictures, or PDF files.")],
    out: Annotated[Path, typer.Option("--out", help="The share to write, a PNG; for several pages a new folder.")],
    session: Annotated[Path | None, typer.Option("--session", help="The signing session, from print.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Read shares from scanned pages; refused where a proof does not confirm every pixel."""
    from medveil.attestation.files import read_bounded
    from medveil.attestation.session import MAX_SESSION
    from medveil.schemes.bundle import new_file, new_folder
    from medveil.schemes.visual import carriers
    from medveil.schemes.visual.scan import read_pages, read_verified

    known = b"" if session is None else read_bounded(session, MAX_SESSION)
    found = []
    for path in pages:
        for page in read_pages(path):
            share, statement = read_verified(page, known)
            proof = b"" if share.envelope is None else share.envelope.encode()
            found.append((statement, carriers.write("chunk", share.pixels, proof, b"")))
    if len(found) == 1:
        names = [out]
        with new_file(out, force=force) as working:
            working.write_bytes(found[0][1])
    else:
        names = [out / f"part-{statement.index}.png" for statement, _ in found]
        if len(set(names)) != len(names):
            raise UsageError("two pages hold shares of one index: scan the pages of one picture together, each once")
        with new_folder(out, force=force) as folder:
            for name, (_, data) in zip(names, found, strict=True):
                (folder / name.name).write_bytes(data)
    read = [
        {"output": str(name), "index": s.index, "threshold": s.threshold, "shares": s.shares}
        for name, (s, _) in zip(names, found, strict=True)
    ]
    result = {"ok": True, "read": read, "exit": 0}

    def text() -> None:
        for one in read:
            terminal.out.print(
                f"{one['output']}: share {one['index']} of {one['shares']}, every pixel as its proof says"
            )

    terminal.emit(result, as_json=as_json, text=text)


@group.command("restore")
def restore(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SHARE...|DIR", help="Share files; or a folder of parts, or a tree of such folders."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The PNG to write; for a tree, the folder.")],
    key: Annotated[Path | None, typer.Option("--key", help="The owner's key file: verifies by the manifest.")] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="With --key, where it does not lie beside the shares.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="An attestation policy: verifies without key.")
    ] = None,
    collateral: Annotated[Path | None, typer.Option("--collateral", help="Its collateral, a file or folder.")] = None,
    session: Sessions = None,
    chain: Chains = None,
    result: Results = None,
    result_key: ResultKey = None,
    insecure: Annotated[
        bool, typer.Option("--insecure-unverified", help="Verify nothing; the picture is marked.")
    ] = False,
    original: Annotated[
        bool, typer.Option("--original", help="Write the original file from the lossless layer, not the picture.")
    ] = False,
    method: Annotated[str, typer.Option(help="stack, xor, count or descreen.")] = "descreen",
    sigma: Annotated[float, typer.Option(help="Low-pass of descreen, in pixels.")] = 1.5,
    force: Force = False,
    resume: Annotated[bool, typer.Option("--resume", help="Skip pictures that are there already.")] = False,
    as_json: Json = False,
) -> None:
    """Write the picture that verified shares show: a halftone, not for diagnosis. --original gives the file itself.

    A tree of folders, as medveil protect makes it of a folder with one folder a class, keeps its shape; there, shares
    that are refused are named and the others go on.
    """
    if sum((key is not None, policy is not None, insecure)) != 1:
        raise UsageError("say how to verify: exactly one of --key, --policy and --insecure-unverified")
    if policy is None and (collateral or session or chain or result or result_key):
        raise UsageError("--collateral, --session, --chain, --result and --result-key belong to --policy")
    if manifest is not None and key is None:
        raise UsageError("--manifest belongs to --key")
    if original and insecure:
        raise UsageError("nothing unverified is handed out as an original: give --key, or --policy with --collateral")
    trust = Trust(
        None if key is None else open_owner(key),
        manifest,
        None if policy is None else attesting(policy, collateral, session, chain, result, result_key),
    )
    todo = list(jobs(sources, out, original=original))
    taken = [job.target for job in todo if job.target.exists()]
    if taken and not (force or resume):
        raise OutputExistsError(f"{taken[0]} exists already: pass --resume to skip what is done, or --force")
    if len(todo) > 1 and manifest is not None:
        raise UsageError("one manifest vouches for one picture: leave --manifest out for a tree")
    done = _Done()
    for number, job in enumerate(todo, start=1):
        if resume and job.target.exists():
            done.skipped.append(str(job.target))
            continue
        with terminal.progress(f"{number}/{len(todo)} {job.target.name}", quiet=as_json):
            done.take(job, trust, len(todo) == 1, original=original, method=method, sigma=sigma, force=force)
    done.report(out, "the original" if original else f"{method}, not for diagnosis", as_json=as_json)


class _Done:
    """What came of the pictures so far."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.skipped: list[str] = []
        self.findings: list[Finding] = []
        self.refused: list[tuple[str, MedveilError]] = []

    def take(self, job: Job, trust: Trust, only: bool, **options: Any) -> None:
        """Restore one picture; a refusal ends everything only where it is the only one."""
        try:
            self.findings += restore_one(job, trust, **options)
        except (RefusedError, UnrecoverableError, InputError, UnsupportedError) as error:
            if only:
                raise
            self.refused.append((str(job.files[0].parent), error))
            return
        self.written.append(str(job.target))

    def report(self, out: Path, how: str, *, as_json: bool) -> None:
        """Print everything and end with the exit code of the first refusal, or of the findings."""
        code = self.refused[0][1].exit_code if self.refused else terminal.exit_code(self.findings)
        result = {
            "ok": not self.refused,
            "outputs": self.written,
            "skipped": self.skipped,
            "refused": [{"input": w, "error": type(e).__name__, "message": str(e)} for w, e in self.refused],
            "findings": [finding.as_dict() for finding in self.findings],
            "exit": code,
        }

        def text() -> None:
            there = f", {len(self.skipped)} there already" if self.skipped else ""
            terminal.out.print(f"{out}: {len(self.written)} picture{'s' * (len(self.written) != 1)}{there}: {how}")
            show(list(dict.fromkeys(self.findings)))
            for where, error in self.refused:
                terminal.err.print(f"refused: {where}: {error}")

        terminal.emit(result, as_json=as_json, text=text)
        terminal.finish(code)


def restore_one(job: Job, trust: Trust, *, original: bool, method: str, sigma: float, force: bool) -> Sequence[Finding]:
    """Write one picture, or the original, and return what was noticed."""
    from medveil.imaging import raster
    from medveil.schemes.bundle import new_file
    from medveil.schemes.visual.restoring import restore as restore_original
    from medveil.schemes.visual.restoring import visual_image

    admitted = trust.admit(job)
    if original:
        restored = restore_original(admitted)
        if not restored.exact:
            raise RefusedError(
                "there is no original to give: the shares were dealt without, or only a simulator vouches for them and "
                "their owner's key is needed"
            )
        data, findings = file_bytes(restored, job.target.suffix), restored.findings
    else:
        data, findings = raster.encode_png(visual_image(admitted, method, sigma).pixels[0]), admitted.findings
    with new_file(job.target, force=force) as working:
        working.write_bytes(data)
    return findings


def add_to(app: typer.Typer) -> None:
    """Add the commands of `medveil visual`."""
    visual_verify.add_to(group)
    visual_carriers.add_to(group)
    app.add_typer(group, name="visual")
