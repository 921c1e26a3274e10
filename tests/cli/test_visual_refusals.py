"""Every bad input of the design page, as files on a disk: a documented exit code, one message, and no picture."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from medveil.attestation.proof import read_proof
from medveil.attestation.providers.simulated import SimulatedPlatform
from medveil.attestation.quote import Tee
from medveil.imaging import samples
from medveil.schemes.visual import carriers, frame
from medveil.schemes.visual.envelope import Envelope

pytest.importorskip("dcap_qvl", reason="needs the extra attest")

SOURCE = samples.path("us-breast-benign.png")


@dataclass(frozen=True)
class Disk:
    """Shares of one picture (session form), the same as whole quotes, shares of another, and what verifies them."""

    root: Path

    @property
    def shares(self) -> tuple[Path, Path]:
        return self.root / "a/part-1.png", self.root / "a/part-2.png"

    @property
    def quoted(self) -> tuple[Path, Path]:
        return self.root / "q/part-1.png", self.root / "q/part-2.png"

    @property
    def stranger(self) -> Path:
        return self.root / "b/part-2.png"

    @property
    def policy(self) -> Path:
        return self.root / "sim/policy.toml"

    @property
    def platform(self) -> SimulatedPlatform:
        return SimulatedPlatform.load(self.root / "sim/platform.json")

    def collateral(self, **changes: Any) -> Path:
        at = changes.pop("at", int(time.time()) - 60)
        path = self.root / "other.json"
        path.write_text(self.platform.collateral(at, **changes).text, encoding="utf-8")
        return path


@pytest.fixture(scope="module")
def dealt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from medveil.attestation.providers.simulated import SimulatedProvider
    from medveil.cli.attest import simulation_policy
    from medveil.imaging.reader import read
    from medveil.schemes.visual import Visual

    root = tmp_path_factory.mktemp("dealt")
    (root / "sim").mkdir()
    platform = SimulatedPlatform.create(int(time.time()) - 600)
    platform.save(root / "sim/platform.json")
    (root / "sim/policy.toml").write_text(simulation_policy(platform), encoding="utf-8")
    (root / "sim/collateral.json").write_text(platform.collateral(int(time.time()) - 60).text, encoding="utf-8")
    for name, proof in (("a", "session"), ("b", "session"), ("q", "quote")):
        (root / name).mkdir()
        scheme = Visual(provider=SimulatedProvider(platform), proof=proof, lossless=False)
        for part in scheme.protect(read(SOURCE)).parts:
            (root / name / f"part-{part.index}.png").write_bytes(part.data)
    return root


@pytest.fixture
def disk(dealt: Path, tmp_path: Path) -> Disk:
    return Disk(Path(shutil.copytree(dealt, tmp_path / "disk")))


def restore(medveil: Any, disk: Disk, *shares: Path, collateral: Path | None = None) -> Any:
    out = disk.root / "picture.png"
    beside = collateral or disk.root / "sim/collateral.json"
    done = medveil(
        "visual", "restore", *shares, "--out", out, "--policy", disk.policy, "--collateral", beside, "--json"
    )
    assert out.exists() == (done.code in (0, 10)), done.out
    assert not [path for path in disk.root.iterdir() if "partial" in path.name]
    return done


def pixels_of(path: Path) -> Any:
    return carriers.read(path.read_bytes()).pixels


def set_low_bits(path: Path, data: bytes) -> None:
    pixels = pixels_of(path)
    flat = pixels.reshape(-1).copy()
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    flat[: len(bits)] = flat[: len(bits)] & 254 | bits
    path.write_bytes(imagecodecs.png_encode(flat.reshape(pixels.shape)))


def framed(path: Path) -> bytes:
    envelope = carriers.read(path.read_bytes()).envelope
    assert envelope is not None
    return frame.write(envelope.encode(), 1 << 20)


def with_quote(path: Path, change: Callable[[bytes], bytes]) -> None:
    share = carriers.read(path.read_bytes())
    assert share.envelope is not None
    proof: Any = read_proof(share.envelope.proof)
    forged = replace(proof, evidence=replace(proof.evidence, data=change(proof.evidence.data)))
    data = Envelope(forged.encode()).encode()
    path.write_bytes(carriers.write("chunk", share.pixels & 254, data, b""))


def no_payload(disk: Disk) -> None:
    first = disk.shares[0]
    first.write_bytes(imagecodecs.png_encode((pixels_of(first) >> 7) * np.uint8(255)))


def wrong_magic(disk: Disk) -> None:
    set_low_bits(disk.shares[0], b"XXXX" + framed(disk.shares[0])[4:])


def wrong_length(disk: Disk) -> None:
    good = framed(disk.shares[0])
    set_low_bits(disk.shares[0], good[:6] + b"\xff" * 4 + good[10:])


def wrong_crc(disk: Disk) -> None:
    good = framed(disk.shares[0])
    set_low_bits(disk.shares[0], good[:-1] + bytes([good[-1] ^ 1]))


def jpeg(disk: Disk) -> None:
    first = disk.shares[0]
    first.write_bytes(imagecodecs.jpeg8_encode(pixels_of(first), 95))


def back_from_jpeg(disk: Disk) -> None:
    first = disk.shares[0]
    lossy = imagecodecs.jpeg8_decode(imagecodecs.jpeg8_encode(pixels_of(first), 95))
    first.write_bytes(imagecodecs.png_encode(lossy))


def size_mismatch(disk: Disk) -> None:
    share = carriers.read(disk.shares[0].read_bytes())
    assert share.envelope is not None
    cut = np.ascontiguousarray(share.pixels[:-1])
    disk.shares[0].write_bytes(carriers.write("chunk", cut, share.envelope.encode(), b""))


def mode_mismatch(disk: Disk) -> None:
    share = carriers.read(disk.shares[0].read_bytes())
    assert share.envelope is not None
    rgb = np.repeat(share.pixels[..., None], 3, axis=2)
    disk.shares[0].write_bytes(carriers.write("chunk", rgb, share.envelope.encode(), b""))


def deeper(disk: Disk) -> None:
    disk.shares[0].write_bytes(imagecodecs.png_encode(pixels_of(disk.shares[0]).astype(np.uint16) << 8))


def edited(disk: Disk) -> None:
    share = carriers.read(disk.shares[0].read_bytes())
    pixels = share.pixels.copy()
    pixels[100, 100] ^= 254
    disk.shares[0].write_bytes(imagecodecs.png_encode(pixels))


def truncated_file(disk: Disk) -> None:
    disk.shares[0].write_bytes(disk.shares[0].read_bytes()[:-30])


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (no_payload, "NotAuthenticError"),
        (wrong_magic, "NotAuthenticError"),
        (wrong_length, "TamperedError"),
        (wrong_crc, "TamperedError"),
        (jpeg, "FormatError"),
        (back_from_jpeg, "TamperedError"),
        (size_mismatch, "TamperedError"),
        (mode_mismatch, "TamperedError"),
        (deeper, "FormatError"),
        (edited, "TamperedError"),
        (truncated_file, "TamperedError"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_damaged_share(damage: Callable[[Disk], None], error: str, medveil: Any, disk: Disk) -> None:
    assert restore(medveil, disk, *disk.shares).code == 10, "good before"
    (disk.root / "picture.png").unlink()
    damage(disk)
    done = restore(medveil, disk, *disk.shares)
    assert (done.code, done.json["error"]) == (3, error)
    assert done.json["message"][0].islower()
    assert not done.json["message"].endswith(".")


def test_duplicates_mixed_sets_and_too_few(medveil: Any, disk: Disk) -> None:
    first, second = disk.shares
    for shares, code, error in (
        ((first, first), 2, "InputError"),
        ((first, disk.stranger), 3, "TamperedError"),
        ((first,), 4, "UnrecoverableError"),
        ((first, disk.quoted[1]), 3, "TamperedError"),
        ((second, disk.root / "absent.png"), 2, "InputError"),
    ):
        done = restore(medveil, disk, *shares)
        assert (done.code, done.json["error"]) == (code, error)


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        (lambda quote: quote[:-1], {"FormatError", "NotAuthenticError", "TamperedError"}),
        (lambda quote: quote[:432], {"FormatError", "NotAuthenticError", "TamperedError"}),
        (lambda quote: quote + bytes(1 << 14), {"FormatError", "LimitError"}),
        (lambda quote: quote + b"x", {"FormatError", "NotAuthenticError", "TamperedError"}),
        *(
            (lambda quote, at=at: quote[:at] + bytes([quote[at] ^ 1]) + quote[at + 1 :], None)
            for at in (0, 60, 120, 370, 440, 570, 950, 2000)
        ),
    ],
)
def test_a_damaged_quote(change: Callable[[bytes], bytes], errors: set[str] | None, medveil: Any, disk: Disk) -> None:
    with_quote(disk.quoted[0], lambda quote: quote)
    assert restore(medveil, disk, *disk.quoted).code == 10, "good before"
    (disk.root / "picture.png").unlink()
    with_quote(disk.quoted[0], change)
    done = restore(medveil, disk, *disk.quoted)
    assert done.code == 3
    assert errors is None or done.json["error"] in errors


def test_collateral_that_does_not_do(medveil: Any, disk: Disk) -> None:
    now = int(time.time())
    for changes, error in (
        ({"tee": Tee.TDX}, "NotAuthenticError"),
        ({"at": now - 90 * 86400}, "StaleError"),
        ({"at": now + 86400}, "NotAuthenticError"),
        ({"evaluation_number": 3}, "StaleError"),
        ({"status": "OutOfDate"}, "PolicyError"),
        ({"status": "Revoked"}, None),
        ({"status": "Excellent"}, None),
    ):
        done = restore(medveil, disk, *disk.shares, collateral=disk.collateral(**changes))
        assert done.code == 3, changes
        assert error is None or done.json["error"] == error, changes
    text = json.loads(disk.collateral().read_text())
    text["tcb_info"] = text["tcb_info"][:-1]
    (disk.root / "other.json").write_text(json.dumps(text))
    done = restore(medveil, disk, *disk.shares, collateral=disk.root / "other.json")
    assert done.code == 3


def test_measurements_and_kinds_that_a_policy_denies(medveil: Any, disk: Disk) -> None:
    good = disk.policy.read_text()
    other = "0" * 64
    own = disk.platform.measurement("signer")["mrenclave"]
    production = good.replace('kind = "simulation"', 'kind = "production"')
    production = "\n".join(
        'roots = ["intel-sgx-root"]' if line.startswith("simulator_root") else line for line in production.splitlines()
    )
    for text, word in (
        (good.replace(own, other), ""),
        (good.replace("[measurements.registers]", "revoked = true\n\n[measurements.registers]"), "revoked"),
        (good[: good.index("[[measurements]]")] + "measurements = []\n", ""),
        (production, "simulat"),
    ):
        assert text != good
        disk.policy.write_text(text)
        done = restore(medveil, disk, *disk.shares)
        assert (done.code, done.json["error"]) == (3, "PolicyError"), done.out
        assert word in done.json["message"]


def test_an_image_that_is_too_small_says_need_and_capacity(medveil: Any, key: Path, tmp_path: Path) -> None:
    from medveil.imaging.reader import read

    (tmp_path / "small.png").write_bytes(imagecodecs.png_encode(read(SOURCE).pixels[0, :20, :30]))
    call = ("protect", tmp_path / "small.png", "--key", key, "--out", tmp_path / "out", "--scheme", "visual")
    done = medveil(*call, "--option", "carrier=lsb")
    assert done.code == 2
    assert "samples are needed" in done.err
    assert "600 are there, room for 61" in done.err
    assert not (tmp_path / "out").exists()
    assert medveil(*call).code == 0, "goes to the chunk, whole"


def test_verify_takes_even_one_share(medveil: Any, disk: Disk) -> None:
    trust = ("--policy", disk.policy, "--collateral", disk.root / "sim/collateral.json", "--json")
    first, second = disk.shares
    for shares in ((first,), (second, first)):
        done = medveil("visual", "verify", *shares, *trust)
        assert done.code == 10
        assert [share["index"] for share in done.json["shares"]] == list(range(1, len(shares) + 1))
        assert all(share["simulated"] for share in done.json["shares"])
        assert "SIMULATOR" in done.json["findings"][0]["message"]
    assert "give --policy" in medveil("visual", "verify", first).out
    for more in ((), trust[:-1]):
        assert medveil("visual", "verify", first, disk.stranger, *more).code == 3
        assert medveil("visual", "verify", first, first, *more).code == 2
    edited(disk)
    for more in ((), trust[:-1]):
        assert medveil("visual", "verify", first, *more).code == 3
    assert medveil("visual", "verify", first, "--policy", disk.policy).code == 2


def test_a_signed_result_outlives_collateral(medveil: Any, key: Path, disk: Disk, tmp_path: Path) -> None:
    from medveil.cli.keys import open_owner

    first, second = disk.shares
    out, token, public = tmp_path / "seen.png", tmp_path / "token", tmp_path / "public"
    public.write_bytes(open_owner(key).public.to_bytes())
    trust = ("--policy", disk.policy, "--collateral", disk.root / "sim/collateral.json")
    done = medveil("visual", "verify", first, *trust, "--sign-result", token, "--key", key, "--json")
    assert done.code == 10, done.err
    later = ("--policy", disk.policy, "--result", token, "--result-key", public)
    call = ("visual", "restore", first, second, "--out", out)
    assert medveil(*call, *later).code == 3, "the policy does not list that verifier"
    text = disk.policy.read_text()
    listed = f'result_signers = ["{done.json["result_signer"]}"]\n\n[[measurements]]'
    disk.policy.write_text(text.replace("[[measurements]]", listed))
    assert medveil("visual", "verify", first, *later).code == 10
    assert medveil(*call, *later).code == 10, "no collateral any more"
    out.unlink()
    revoked = disk.policy.read_text().replace("[measurements.registers]", "revoked = true\n\n[measurements.registers]")
    disk.policy.write_text(revoked)
    assert medveil(*call, *later).code == 3, "today's policy is asked"
    assert medveil(*call, "--policy", disk.policy, "--result", token).code == 2
    assert medveil(*call, "--policy", disk.policy).code == 2
    assert medveil(*call, "--insecure-unverified", "--result", token).code == 2
    assert medveil("visual", "verify", first, "--sign-result", tmp_path / "x").code == 2
    quoted = ("visual", "verify", *disk.quoted, *trust, "--sign-result", tmp_path / "x", "--key", key)
    disk.policy.write_text(text)
    assert medveil(*quoted).code == 2, "two quotes are two results"
    assert not out.exists()
    assert not (tmp_path / "x").exists()


def test_compact_proofs_find_their_certificates(medveil: Any, key: Path, disk: Disk, tmp_path: Path) -> None:
    options = ("--option", "proof=compact", "--option", f"platform={disk.root / 'sim/platform.json'}")
    done = medveil("protect", SOURCE, "--key", key, "--out", tmp_path, "--scheme", "visual", *options)
    assert done.code == 0, done.err
    folder = tmp_path / SOURCE.name
    assert (folder / "public").read_bytes().startswith(b"-----BEGIN CERTIFICATE")
    assert restore(medveil, disk, folder).code == 10, "they lie beside the parts"
    (disk.root / "picture.png").unlink()
    (folder / "public").rename(tmp_path / "chain.pem")
    assert restore(medveil, disk, folder).code == 3
    trust = ("--policy", disk.policy, "--collateral", disk.root / "sim/collateral.json")
    part = folder / "part-1.png"
    assert medveil("visual", "verify", part, *trust, "--chain", tmp_path / "chain.pem").code == 10
    (tmp_path / "chain.pem").write_bytes((tmp_path / "chain.pem").read_bytes()[:-2])
    assert medveil("visual", "verify", part, *trust, "--chain", tmp_path / "chain.pem").code == 3
