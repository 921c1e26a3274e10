"""`medveil visual carry` and `c2pa`: the same share in another carrier, and what a C2PA manifest says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medveil.cli import terminal
from medveil.cli.files import Force
from medveil.cli.keys import Json
from medveil.cli.visual_shares import read_share
from medveil.errors import RefusedError, UsageError


def carry(
    share: Annotated[Path, typer.Argument(metavar="SHARE", help="A share file.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    carrier: Annotated[str, typer.Option(help="lsb, chunk, dicom or sidecar.")],
    c2pa: Annotated[
        Path | None,
        typer.Option("--c2pa", help="PEM file of certificates and key: also embed a C2PA manifest (PNG only)."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a share again with its proof elsewhere; refused where the proof does not confirm every pixel."""
    from medveil.schemes.bundle import new_file
    from medveil.schemes.visual import admission, c2pa_manifest, carriers

    if c2pa is not None and carrier == "dicom":
        raise UsageError("C2PA manifests go on PNG shares: choose another carrier than dicom")
    read = read_share(share)
    statement = admission.check_consistent(read)
    if read.envelope is None:
        raise RefusedError(f"{share} carries no proof: there is nothing to carry")
    pixels, outside = carriers.render(carrier, read.plane, read.shape, read.envelope)
    data = carriers.write(carrier, pixels, outside, read.layer)
    if c2pa is not None:
        data = c2pa_manifest.embed(data, statement, c2pa_manifest.Credential.load(c2pa))
    beside = out.with_name(out.name + carriers.SIDECAR_SUFFIX)
    if carrier == "sidecar":
        with new_file(beside, force=force) as working:
            working.write_bytes(outside)
    with new_file(out, force=force) as working:
        working.write_bytes(data)
    written = [str(out)] + [str(beside)] * (carrier == "sidecar")
    result = {"ok": True, "outputs": written, "index": statement.index, "carrier": carrier, "exit": 0}
    text = f"{' and '.join(written)}: share {statement.index} of {statement.shares}"
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(text))


def c2pa(
    share: Annotated[Path, typer.Argument(metavar="SHARE", help="A PNG share.")],
    anchors: Annotated[
        Path | None, typer.Option("--anchors", help="PEM certificates of the authorities that are trusted.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Validate a share's C2PA manifest and say who signed it. It is a name, no attestation, and recovers nothing."""
    from medveil.attestation.files import read_bounded
    from medveil.schemes.visual import admission, c2pa_manifest

    statement = admission.check_consistent(read_share(share))
    trusted = "" if anchors is None else read_bounded(anchors, 1 << 20).decode("ascii", "replace")
    manifest = c2pa_manifest.check(share.read_bytes(), statement, trusted)
    code = terminal.CLEAN if manifest.trusted else terminal.WITH_FINDINGS
    result = {
        "ok": True,
        "signer": manifest.signer,
        "issuer": manifest.issuer,
        "algorithm": manifest.algorithm,
        "trusted": manifest.trusted,
        "share": manifest.share,
        "exit": code,
    }
    stands = "by an authority that you trust" if manifest.trusted else "by NOBODY that you named: give --anchors"
    text = f"{share}: share {statement.index}, signed by {manifest.signer} ({manifest.issuer}), vouched for {stands}"
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(text))
    terminal.finish(code)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("carry")(carry)
    app.command("c2pa")(c2pa)
