"""`medveil protect`, `restore` and `verify`: single files and folders of files."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medveil.cli import terminal
from medveil.cli.keys import Json, KeyFile, open_owner
from medveil.errors import InputError, OutputExistsError, UnrecoverableError, UsageError

if TYPE_CHECKING:
    from medveil.crypto.keyfile import OwnerKey
    from medveil.imaging.roi import ROI
    from medveil.schemes.base import Finding, Restored, Scheme
    from medveil.schemes.bundle import Progress, Verified

Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
Bundle = Annotated[
    Path, typer.Argument(metavar="DIR/NAME", help="The folder that protect wrote, or one that holds several.")
]


def protect(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Files, or folders taken with all they hold.")],
    key: KeyFile,
    out: Annotated[Path, typer.Option("--out", help="Folder for the results: one folder for each input inside.")],
    scheme: Annotated[str, typer.Option("--scheme", help="How to protect; see the documentation of each.")] = "sealed",
    threshold: Annotated[str | None, typer.Option(metavar="K/N", help="Any K of N parts restore.")] = None,
    profile: Annotated[str | None, typer.Option(help="A scheme's profile, for example paper or hardened.")] = None,
    roi: Annotated[
        list[str] | None,
        typer.Option(metavar="X1,Y1,X2,Y2", help="Region of interest: 1-based inclusive corners; may be repeated."),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Any other option of the scheme.")
    ] = None,
    force: Force = False,
    resume: Annotated[bool, typer.Option("--resume", help="Skip inputs whose result is there already.")] = False,
    as_json: Json = False,
) -> None:
    """Protect files: each becomes a folder OUT/<input name> with part-1 ... part-n and a manifest."""
    instance = make_scheme(scheme, threshold=threshold, profile=profile, options=option or [])
    regions = parse_roi(roi or [])
    jobs = tuple(plan(inputs, out))
    taken = [target for _, target in jobs if target.exists()]
    if taken and not (force or resume):
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise OutputExistsError(f"{taken[0]}{more} exists already: pass --resume to skip what is done, or --force")
    owner = open_owner(key)
    instance = of_owner(instance, owner)
    done = []
    noticed: list[Finding] = []
    for number, (source, target) in enumerate(jobs, start=1):
        if target.exists() and resume:
            done.append({"input": str(source), "output": str(target), "skipped": True})
            continue
        with terminal.progress(f"{number}/{len(jobs)} {source.name}", quiet=as_json) as tick:
            findings = protect_one(source, target, instance, owner=owner, roi=regions, progress=tick, force=force)
        noticed += findings
        done.append(
            {"input": str(source), "output": str(target), "skipped": False, "findings": [f.as_dict() for f in findings]}
        )

    claim = instance.claim

    def text() -> None:
        for entry in done:
            terminal.out.print(f"{entry['output']}{'  (was there already)' if entry['skipped'] else ''}")
        if claim.one_way:
            terminal.err.print(f"note: {scheme} is one-way: nothing is ever decrypted, so keep the originals")
        elif not (claim.lossless and claim.secure):
            worth = ("" if claim.lossless else "LOSSY, ") + ("" if claim.secure else "NOT SECURE, ")
            terminal.err.print(f"note: {scheme} is {worth}{claim.notes}")
        show(list(dict.fromkeys(noticed)))  # what many files have in common stands once

    said = {"lossless": claim.lossless, "secure": claim.secure, "notes": claim.notes}
    result = {
        "ok": True,
        "scheme": scheme,
        "claim": said,
        "one_way": claim.one_way,
        "files": done,
        "exit": terminal.CLEAN,
    }
    terminal.emit(result, as_json=as_json, text=text)


def restore(
    bundle: Bundle,
    key: KeyFile,
    out: Annotated[Path, typer.Option("--out", help="The file to write; a folder where DIR holds several.")],
    force: Force = False,
    resume: Annotated[bool, typer.Option("--resume", help="Of several, skip those that are there already.")] = False,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Where too little is left for all, write what is intact; the rest is zero."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Give the original file back from any k intact parts, and say what was wrong with the others.

    Where DIR holds several protected files, all come back under the folder OUT; one that fails stops no other.
    """
    from medveil.cli import trees
    from medveil.schemes.bundle import new_file

    def one(bundle: Path, target: Path) -> Restored:
        with new_file(target, force=force) as working, terminal.progress(bundle.name, quiet=as_json) as tick:
            restored = restore_one(bundle, working, owner=owner, partial=partial, progress=tick, suffix=target.suffix)
            if not (restored.exact or partial or lossy(bundle)):
                raise UnrecoverableError(
                    f"{bundle} cannot be restored exactly: bring back more parts, or pass --partial for what is intact"
                )
        return restored

    owner = open_owner(key)
    if bundle.is_dir() and not trees.is_bundle(bundle):
        outcomes = trees.restore_tree(bundle, out, lambda b, t: one(b, t).findings, force=force, resume=resume)
        trees.report(outcomes, verb="exact", as_json=as_json)
        return
    restored = one(bundle, out)
    code = terminal.exit_code(restored.findings)
    result = {
        "ok": True,
        "output": str(out),
        "exact": restored.exact,
        "findings": [f.as_dict() for f in restored.findings],
        "exit": code,
    }

    def text() -> None:
        inexact = "NOT exact: this scheme is lossy" if lossy(bundle) else "NOT exact: what was lost is marked"
        terminal.out.print(f"{out}: {'exact' if restored.exact else inexact}")
        show(restored.findings)

    terminal.emit(result, as_json=as_json, text=text)
    terminal.finish(code)


def verify(
    bundle: Bundle,
    key: Annotated[Path | None, typer.Option("--key", help="The owner's key file: checks what the parts hold.")] = None,
    map_out: Annotated[
        Path | None,
        typer.Option(
            "--map", help="Write touched regions as a picture, or as a DICOM segmentation where it ends in .dcm."
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Check the parts: without a key the parts themselves, with it also what they hold and where damage lies."""
    from medveil.cli import trees

    if map_out is not None and key is None:
        raise UsageError("--map shows the picture, which only its owner can see: give --key as well")
    owner = None if key is None else open_owner(key)

    def one(bundle: Path) -> Verified:
        with terminal.progress(bundle.name, quiet=as_json) as tick:
            return verify_one(bundle, owner=owner, progress=tick)

    if bundle.is_dir() and not trees.is_bundle(bundle):
        if map_out is not None:
            raise UsageError("--map shows one picture: give the folder of one protected file")
        trees.report(trees.verify_tree(bundle, lambda b: one(b).findings), verb="clean", as_json=as_json)
        return
    checked = one(bundle)
    if map_out is not None:
        from medveil.cli.maps import write_map

        map_out = write_map(checked, map_out, force=force)
    code = terminal.exit_code(checked.findings)
    touched = None if checked.tamper_map is None else int(checked.tamper_map.touched.sum())
    result = {
        "ok": not checked.findings,
        "level": "parts" if owner is None else "image",
        "findings": [f.as_dict() for f in checked.findings],
        "touched_pixels": touched,
        "map": None if map_out is None else str(map_out),
        "exit": code,
    }

    def text() -> None:
        level = "the parts agree with the manifest" if owner is None else "parts and picture are what was protected"
        terminal.out.print(f"{bundle}: {level if not checked.findings else 'there are findings'}")
        show(checked.findings)
        if touched:
            terminal.out.print(f"{touched} pixels lie in touched regions" + (f", see {map_out}" if map_out else ""))

    terminal.emit(result, as_json=as_json, text=text)
    terminal.finish(code)


def show(findings: Sequence[Finding]) -> None:
    """Print findings, if any."""
    if findings:
        terminal.out.print(terminal.findings_table(findings))


def plan(inputs: Sequence[Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """Give each input file its output folder; a folder's files keep their relative paths.

    Raises InputError for a path that is not there, UsageError where two inputs would share an output.
    """
    seen: dict[Path, Path] = {}
    for given in inputs:
        if given.is_dir():
            files = sorted(p for p in given.rglob("*") if p.is_file())
            if not files:
                raise InputError(f"{given} holds no files: give a file or a folder that has some")
        elif given.is_file():
            files = [given]
        else:
            raise InputError(f"there is no file {given}: check the path")
        for source in files:
            relative = (
                source.relative_to(given.parent if given.name not in ("", "..") else given)
                if (given.is_dir())
                else Path(source.name)
            )
            target = out / relative
            if target in seen:
                raise UsageError(f"{seen[target]} and {source} would both become {target}: protect them separately")
            seen[target] = source
            yield source, target


def make_scheme(name: str, *, threshold: str | None, profile: str | None, options: Sequence[str]) -> Scheme:
    """Build the scheme from command line options. Raises UsageError for an option that it does not have."""
    from medveil.schemes import registry

    cls = registry.load(name)
    given: dict[str, Any] = dict(parse_option(text) for text in options)
    if threshold is not None:
        given["threshold"] = parse_threshold(threshold)
    if profile is not None:
        given["profile"] = profile
    known = [p for p in inspect.signature(cls).parameters if p not in ("owner", "key")]  # secrets never stand on argv
    for option in given:
        if option not in known:
            raise UsageError(f"scheme {name} has no option {option}: it has {', '.join(known) or 'none'}")
    return cls(**given)


def parse_threshold(text: str) -> tuple[int, int]:
    """Parse "2/4" as (2, 4). Raises UsageError."""
    k, slash, n = text.partition("/")
    if not (slash and k.isascii() and n.isascii() and k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n) <= 32):
        raise UsageError(f"{text!r} is no threshold: write K/N with 1 <= K <= N <= 32, for example 2/4")
    return int(k), int(n)


def parse_option(text: str) -> tuple[str, Any]:
    """Parse "name=value"; integers, true and false are taken as such. Raises UsageError."""
    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier()):
        raise UsageError(f"{text!r} is no option: write NAME=VALUE")
    if value in ("true", "false"):
        return name, value == "true"
    return name, int(value) if value.lstrip("-").isdigit() else value


def parse_roi(texts: Sequence[str]) -> ROI:
    """Parse regions of interest as the command line writes them."""
    from medveil.imaging import roi

    return roi.parse_all(texts)


def scheme_of(bundle: Path) -> str:
    """Return the name of the scheme that a folder of parts was made with."""
    from medveil.schemes import bundle as folders

    if not bundle.is_dir():
        raise InputError(f"{bundle} is not a folder of parts: give the folder that protect wrote")
    manifest = bundle / folders.MANIFEST
    if manifest.is_file():
        with manifest.open("rb") as handle:
            if handle.read(len(folders.MAGIC)) == folders.MAGIC:
                return folders.parse_manifest(folders.read_manifest(bundle))[0].scheme
    return "sealed"


def of_owner(scheme: Scheme, owner: OwnerKey) -> Scheme:
    """Return the scheme ready for this owner's images, where it needs its owner for that."""
    from medveil.schemes.bundle import OwnerScheme

    return scheme.for_owner(owner) if isinstance(scheme, OwnerScheme) else scheme


def lossy(bundle: Path) -> bool:
    """Whether the scheme of a folder of parts gives approximations by design."""
    from medveil.schemes import registry

    return not registry.load(scheme_of(bundle)).claim.lossless


def protect_one(
    source: Path, target: Path, scheme: Scheme, *, owner: OwnerKey, roi: ROI, progress: Progress, force: bool
) -> tuple[Finding, ...]:
    """Protect one file into its folder."""
    from medveil.imaging import reader
    from medveil.schemes import bundle as folders

    if isinstance(scheme, folders.FolderScheme):
        with folders.new_folder(target, force=force) as folder:
            return scheme.protect_folder(source, folder, owner=owner, roi=roi, progress=progress)
    protected = scheme.protect(reader.read(source), roi=roi)
    folders.write(target, protected, scheme, owner=owner, force=force)
    return protected.findings


def restore_one(
    bundle: Path, out: Path, *, owner: OwnerKey, partial: bool, progress: Progress, suffix: str
) -> Restored:
    """Restore one folder of parts into the new file `out`."""
    from medveil.schemes import bundle as folders
    from medveil.schemes import registry

    scheme = registry.load(scheme_of(bundle))()
    if isinstance(scheme, folders.FolderScheme):
        return scheme.restore_folder(bundle, owner=owner, out=out, partial=partial, progress=progress)
    record, secret = folders.open_manifest(folders.read_manifest(bundle), owner)
    parts, findings = record.match(folders.read_parts(bundle))
    restored = scheme.restore(parts, secret)
    out.write_bytes(file_bytes(restored, suffix))
    return merge(restored, findings)


def verify_one(bundle: Path, *, owner: OwnerKey | None, progress: Progress) -> Verified:
    """Verify one folder of parts."""
    from medveil.schemes import bundle as folders
    from medveil.schemes import registry

    scheme = registry.load(scheme_of(bundle))()
    if isinstance(scheme, folders.FolderScheme):
        return scheme.verify_folder(bundle, owner=owner, progress=progress)
    manifest = folders.read_manifest(bundle)
    if owner is None:
        parts, findings = folders.parse_manifest(manifest)[0].match(folders.read_parts(bundle))
        return folders.Verified(findings + scheme.verify(parts))
    record, secret = folders.open_manifest(manifest, owner)
    parts, findings = record.match(folders.read_parts(bundle))
    if scheme.claim.one_way:  # there is no picture to look into, only the part that was written
        return folders.Verified(findings or scheme.verify(parts, secret))
    restored = merge(scheme.restore(parts, secret), findings)
    return folders.Verified(restored.findings, restored.tamper_map, restored.image)


def merge(restored: Restored, findings: tuple[Finding, ...]) -> Restored:
    """Add what the folder's manifest showed to what the scheme found, each part's damage once."""
    from medveil.schemes.base import Restored as Result

    said = {(f.kind, f.part) for f in restored.findings}
    extra = tuple(f for f in findings if (f.kind, f.part) not in said)
    return Result(restored.image, extra + restored.findings, restored.tamper_map)


def file_bytes(restored: Restored, suffix: str) -> bytes:
    """Return the restored original file, or for an image without one a PNG or TIFF by the output's suffix.

    Raises UsageError where pixels without a file are to be written in another form.
    """
    from medveil.imaging import raster
    from medveil.imaging.image import OpaqueFile

    image = restored.image
    if isinstance(image, OpaqueFile):
        return image.original
    if image.original is not None:
        return image.original
    if suffix.lower() == ".png" and image.frames == 1:
        return raster.encode_png(image.pixels[0])
    if suffix.lower() in (".tif", ".tiff"):
        return raster.encode_tiff(image.pixels)
    raise UsageError("the parts hold pixels without their file: name the output .tiff, or .png for a single frame")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("protect")(protect)
    app.command("restore")(restore)
    app.command("verify")(verify)
