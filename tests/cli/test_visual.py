"""`medveil visual` as a script sees it, on real images and a simulated platform."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from medveil.imaging import reader, samples

pytest.importorskip("dcap_qvl", reason="needs the extra attest")

DPI = 150


@pytest.fixture
def simulated(medveil: Any, tmp_path: Path) -> Path:
    assert medveil("attest", "simulate", tmp_path / "sim").code == 0
    return tmp_path / "sim"


def protect(medveil: Any, key: Path, source: Path, out: Path, *options: str) -> Any:
    done = medveil("protect", source, "--key", key, "--out", out, "--scheme", "visual", *options)
    assert done.code == 0, done.err
    return done


def trusting(simulated: Path) -> tuple[object, ...]:
    return "--policy", simulated / "policy.toml", "--collateral", simulated / "collateral.json"


def test_under_a_policy_with_the_key_and_insecurely(medveil: Any, key: Path, simulated: Path, tmp_path: Path) -> None:
    source = samples.path("us-breast-benign.png")
    options = ("--threshold", "2/3", "--option", f"platform={simulated / 'platform.json'}")
    assert "SIMULATED" in protect(medveil, key, source, tmp_path / "out", *options).out
    folder = tmp_path / "out" / source.name
    parts = [folder / "part-1.png", folder / "part-3.png"]
    done = medveil("visual", "restore", *parts, "--out", tmp_path / "a.png", *trusting(simulated), "--json")
    assert done.code == 10
    assert "simulator" in done.json["findings"][0]["message"]
    done = medveil("visual", "restore", folder, "--out", tmp_path / "b.png", "--key", key)
    assert done.code == 0
    shown, original = reader.read(tmp_path / "b.png"), reader.read(source)
    assert shown.pixels.shape == original.pixels.shape
    assert reader.read(tmp_path / "a.png").rows > original.rows, "marked"
    done = medveil("visual", "restore", *parts, "--out", tmp_path / "c.png", "--insecure-unverified")
    assert done.code == 10
    assert medveil("restore", folder, "--key", key, "--out", tmp_path / "back.png").code == 0
    assert (tmp_path / "back.png").read_bytes() == source.read_bytes()
    assert medveil("verify", folder).code == 0


def test_shares_that_are_named_are_the_ones_used(medveil: Any, key: Path, tmp_path: Path) -> None:
    source = samples.path("us-breast-benign.png")
    protect(medveil, key, source, tmp_path / "out", "--threshold", "2/3")
    folder = tmp_path / "out" / source.name
    pictures = {}
    for chosen in ((1, 2), (1, 3), (1, 2, 3)):
        out = tmp_path / f"{chosen}.png"
        parts = [folder / f"part-{i}.png" for i in chosen]
        done = medveil("visual", "restore", *parts, "--out", out, "--key", key, "--method", "count", "--json")
        assert (done.code, done.json["findings"]) == (0, []), "what was not given is not missing"
        pictures[chosen] = out.read_bytes()
    assert len(set(pictures.values())) == 3
    (folder / "part-2.png").unlink()
    done = medveil("visual", "restore", folder, "--out", tmp_path / "d.png", "--key", key, "--json")
    assert [f["kind"] for f in done.json["findings"]] == ["missing"]
    assert medveil("visual", "restore", folder / "part-1.png", "--out", tmp_path / "e.png", "--key", key).code == 4
    assert not (tmp_path / "e.png").exists()


def test_the_original_for_its_owner_never_unverified_or_simulated(
    medveil: Any, key: Path, simulated: Path, tmp_path: Path
) -> None:
    source = samples.path("ct-thorax.dcm")
    done = protect(medveil, key, source, tmp_path / "out", "--option", f"platform={simulated / 'platform.json'}")
    assert "windowed to 8" in done.out
    folder = tmp_path / "out" / source.name
    for trust, code in ((("--key", key), 0), (trusting(simulated), 3), (("--insecure-unverified",), 2)):
        out = tmp_path / f"{code}.dcm"
        assert medveil("visual", "restore", folder, "--out", out, "--original", *trust).code == code
        assert out.exists() == (code == 0)
    assert (tmp_path / "0.dcm").read_bytes() == source.read_bytes()


def test_a_forged_share_gives_no_picture(medveil: Any, key: Path, simulated: Path, tmp_path: Path) -> None:
    source = samples.path("us-breast-benign.png")
    protect(medveil, key, source, tmp_path / "out", "--option", f"platform={simulated / 'platform.json'}")
    folder = tmp_path / "out" / source.name
    pixels = imagecodecs.png_decode((folder / "part-1.png").read_bytes())
    pixels[100:140, 100:140] ^= 254
    (folder / "part-1.png").write_bytes(imagecodecs.png_encode(pixels))
    for options in (trusting(simulated), ("--key", key)):
        done = medveil("visual", "restore", folder, "--out", tmp_path / "x.png", *options)
        assert done.code in (3, 4)
        assert not (tmp_path / "x.png").exists()


def test_a_labelled_tree_keeps_its_shape_goes_on_and_names_what_was_refused(
    medveil: Any, key: Path, tmp_path: Path
) -> None:
    for label, name in (("benign", "us-breast-benign.png"), ("malignant", "us-breast-malignant.png")):
        (tmp_path / "data" / label).mkdir(parents=True)
        shutil.copy(samples.path(name), tmp_path / "data" / label / "1.png")
    protect(medveil, key, tmp_path / "data", tmp_path / "shares")
    tree = tmp_path / "shares" / "data"
    call = ("visual", "restore", tree, "--out", tmp_path / "seen", "--key", key, "--json")
    done = medveil(*call)
    assert done.code == 0, done.err
    assert len(done.json["outputs"]) == 2
    for label in ("benign", "malignant"):
        written = tmp_path / "seen" / label / "1.png"
        original = reader.read(tmp_path / "data" / label / "1.png").pixels.astype(float)
        assert np.corrcoef(reader.read(written).pixels.ravel(), original.ravel())[0, 1] > 0.9
    assert medveil(*call).code == 2, "nothing is overwritten"
    bad = tree / "benign" / "1.png" / "part-1.png"
    bad.write_bytes(bad.read_bytes()[:-20])
    (tmp_path / "seen/benign/1.png").unlink()
    (tmp_path / "seen/malignant/1.png").unlink()
    done = medveil(*call)
    assert done.code == 4
    assert [Path(entry["input"]).parent.name for entry in done.json["refused"]] == ["benign"]
    assert not (tmp_path / "seen/benign/1.png").exists()
    done = medveil(*call, "--resume")
    assert (len(done.json["outputs"]), len(done.json["skipped"])) == (0, 1)


@pytest.mark.parametrize("carrier", ["lsb", "chunk", "dicom", "sidecar"])
def test_every_carrier_can_be_changed_to(
    carrier: str, medveil: Any, key: Path, simulated: Path, tmp_path: Path
) -> None:
    source = samples.path("us-breast-benign.png")
    protect(medveil, key, source, tmp_path / "out", "--option", f"platform={simulated / 'platform.json'}")
    folder = tmp_path / "out" / source.name
    again = []
    for i in (1, 2):
        out = tmp_path / f"share-{i}{'.dcm' if carrier == 'dicom' else '.png'}"
        assert medveil("visual", "carry", folder / f"part-{i}.png", "--carrier", carrier, "--out", out).code == 0
        again.append(out)
    assert (tmp_path / "share-1.png.proof").exists() == (carrier == "sidecar")
    done = medveil("visual", "restore", *again, "--out", tmp_path / "a.png", *trusting(simulated))
    assert done.code == 10, done.err
    done = medveil("visual", "restore", *again, "--out", tmp_path / "b.png", "--original", "--key", key,
                   "--manifest", folder / "manifest")  # fmt: skip
    assert done.code == 10, "the owner recognises his shares, and is told that they were stored again"
    assert (tmp_path / "b.png").read_bytes() == source.read_bytes()
    if carrier == "sidecar":
        (tmp_path / "share-1.png.proof").unlink()
        assert medveil("visual", "restore", *again, "--out", tmp_path / "c.png", *trusting(simulated)).code == 3
        assert not (tmp_path / "c.png").exists()


def test_a_c2pa_manifest_names_its_signer(medveil: Any, key: Path, tmp_path: Path) -> None:
    pytest.importorskip("c2pa", reason="needs the extra c2pa")
    from tests.schemes.visual.test_visual_c2pa import KEYS, authority, stored

    credential, anchor = authority(KEYS["ED25519"]())
    (tmp_path / "anchor.pem").write_bytes(anchor)
    source = samples.path("us-breast-benign.png")
    protect(medveil, key, source, tmp_path / "out", "--option", f"c2pa={stored(tmp_path, credential)}")
    part, again = tmp_path / "out" / source.name / "part-1.png", tmp_path / "again.png"
    done = medveil("visual", "c2pa", part, "--anchors", tmp_path / "anchor.pem", "--json")
    assert (done.code, done.json["trusted"], done.json["signer"]) == (0, True, "its share signer")
    assert medveil("visual", "c2pa", part).code == 10, "a valid signature of somebody"
    assert medveil("visual", "carry", part, "--carrier", "chunk", "--out", again).code == 0
    assert medveil("visual", "c2pa", again).code == 3, "it was left behind"
    carry = ("visual", "carry", part, "--c2pa", tmp_path / "credential.pem", "--force", "--out", again, "--carrier")
    assert medveil(*carry, "lsb").code == 0
    assert medveil("visual", "c2pa", again, "--anchors", tmp_path / "anchor.pem").code == 0
    assert medveil(*carry, "dicom").code == 2


def scanned(pages: list[np.ndarray]) -> bytes:
    """Pages on a scanner's glass, as its PDF: turned, seen from the side, unsharp, noisy, with less contrast."""
    import cv2
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out)
    for number, page in enumerate(pages):
        height, width = page.shape[:2]
        turn = np.vstack([cv2.getRotationMatrix2D((width / 2, height / 2), (-0.9, 1.2)[number % 2], 1.0), [0, 0, 1]])
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        seen = corners + np.array([[5, 3], [-7, 2], [-2, -6], [3, -1]], np.float32)
        warp = cv2.getPerspectiveTransform(corners, seen) @ turn
        dull = cv2.warpPerspective(page, warp, (width, height), borderValue=(255,) * 3)
        dull = cv2.GaussianBlur(dull, (0, 0), 0.6).astype(float) * 0.8 + 20
        noisy = np.clip(dull + np.random.default_rng(number).normal(0, 6, dull.shape), 0, 255).astype(np.uint8)
        canvas.setPageSize((width * 72 / DPI, height * 72 / DPI))
        picture = ImageReader(io.BytesIO(imagecodecs.jpeg8_encode(noisy, 90)))
        canvas.drawImage(picture, 0, 0, width * 72 / DPI, height * 72 / DPI)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def test_the_printed_pdf_comes_back_from_a_scanners_pdf(
    medveil: Any, key: Path, simulated: Path, tmp_path: Path
) -> None:
    for package in ("cv2", "reportlab", "pypdfium2", "zxingcpp"):
        pytest.importorskip(package, reason="needs the extra print")
    import pypdfium2

    source = samples.path("xray-chest-1024.png")
    options = ("--option", "longest_side=120", "--option", f"platform={simulated / 'platform.json'}")
    assert (
        "shrunk from 1024 x 1024 to 120 x 120"
        in protect(medveil, key, source, tmp_path / "out", "--threshold", "2/3", *options).out
    )
    folder, session = tmp_path / "out" / source.name, tmp_path / "session"
    parts = [folder / f"part-{i}.png" for i in (1, 3)]
    done = medveil("visual", "print", *parts, "--out", tmp_path / "s.pdf", "--session-out", session, "--json")
    assert done.code == 0, done.err
    assert done.json["scan_dpi"] <= DPI
    pages = [page.render(scale=DPI / 72, rev_byteorder=True).to_numpy()[..., :3]
             for page in pypdfium2.PdfDocument((tmp_path / "s.pdf").read_bytes())]  # fmt: skip
    (tmp_path / "scan.pdf").write_bytes(scanned([np.ascontiguousarray(page) for page in pages]))
    assert medveil("visual", "scan", tmp_path / "scan.pdf", "--out", tmp_path / "no").code == 3, "without its session"
    done = medveil("visual", "scan", tmp_path / "scan.pdf", "--out", tmp_path / "back", "--session", session, "--json")
    assert done.code == 0, done.err
    assert [entry["index"] for entry in done.json["read"]] == [1, 3]
    again = [tmp_path / "back/part-1.png", tmp_path / "back/part-3.png"]
    by_policy = medveil("visual", "restore", *again, "--out", tmp_path / "a.png", *trusting(simulated))
    assert by_policy.code == 10, by_policy.err
    owner = ("--key", key, "--manifest", folder / "manifest")
    assert medveil("visual", "restore", *again, "--out", tmp_path / "b.png", *owner).code == 10
    assert medveil("visual", "restore", *parts, "--out", tmp_path / "c.png", "--key", key).code == 0
    assert np.array_equal(reader.read(tmp_path / "b.png").pixels, reader.read(tmp_path / "c.png").pixels)
    assert medveil("visual", "restore", *again, "--out", tmp_path / "d.png", "--original", *owner).code == 3
    assert not (tmp_path / "d.png").exists()


def test_usage(medveil: Any, key: Path, tmp_path: Path) -> None:
    source = samples.path("us-breast-benign.png")
    out = ("--out", tmp_path / "x.png")
    for arguments, code in (
        ((source, *out), 2),
        ((source, *out, "--policy", source), 2),
        ((source, *out, "--insecure-unverified"), 3),
        ((tmp_path, *out, "--key", key), 2),
        ((source, *out, "--insecure-unverified", "--manifest", source), 2),
        ((source, *out, "--key", key), 4),
    ):
        assert medveil("visual", "restore", *arguments).code == code
    assert medveil("visual", "scan", source, *out).code == 3
    (tmp_path / "no.pdf").write_bytes(b"%PDF-1.4 and nothing else")
    assert medveil("visual", "scan", tmp_path / "no.pdf", *out).code == 2
    assert medveil("visual", "carry", source, "--carrier", "lsb", *out).code == 3
    assert medveil("visual", "print", source, "--out", tmp_path / "x.png").code == 3
    assert not (tmp_path / "x.png").exists()
