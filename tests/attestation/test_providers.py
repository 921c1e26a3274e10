"""Providers. No machine here has SGX, TDX or SEV-SNP: the two for hardware are tested against folders of named pipes
that follow the same file protocol and answer with the simulator's quotes. What a real kernel does is not tested."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.providers import registry
from medveil.attestation.providers.gramine import GramineProvider
from medveil.attestation.providers.registry import names, open_provider
from medveil.attestation.providers.simulated import SimulatedPlatform, SimulatedProvider
from medveil.attestation.providers.tsm import TsmProvider
from medveil.attestation.quote import parse_quote
from medveil.errors import (
    ConfigError,
    FormatError,
    InputError,
    LimitError,
    OutputExistsError,
    TamperedError,
    UnsupportedError,
)

REPORT = bytes(range(64))


@contextmanager
def device(target: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    yield
    thread.join(timeout=10)
    assert not thread.is_alive()


def gramine_folder(folder: Path, kind: str = "dcap") -> Path:
    (folder / "attestation_type").write_text(kind)
    for name in ("user_report_data", "quote"):
        os.mkfifo(folder / name)
    return folder


@pytest.mark.parametrize("rounds", [1, 5])
def test_gramine_protocol(rounds: int, tmp_path: Path, platform: SimulatedPlatform) -> None:
    folder = gramine_folder(tmp_path)

    def answer() -> None:
        for _ in range(rounds):
            asked = (folder / "user_report_data").read_bytes()
            (folder / "quote").write_bytes(platform.quote(asked))

    with device(answer):
        for i in range(rounds):
            report = bytes([i]) * 64
            evidence = GramineProvider(folder).evidence(report)
            assert evidence.kind is EvidenceKind.DCAP
            assert not evidence.simulated
            assert parse_quote(evidence.data).report_data == report


def test_gramine_calls_of_many_threads_do_not_mix(tmp_path: Path, platform: SimulatedPlatform) -> None:
    folder = gramine_folder(tmp_path)
    wrong: list[int] = []

    def answer() -> None:
        for _ in range(24):
            (folder / "quote").write_bytes(platform.quote((folder / "user_report_data").read_bytes()))

    def ask(i: int) -> None:
        for j in range(3):
            report = bytes([i, j]) * 32
            if parse_quote(GramineProvider(folder).evidence(report).data).report_data != report:
                wrong.append(i)

    with device(answer):
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
    assert wrong == []


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (lambda p, asked: p.quote(bytes(64)), TamperedError),
        (lambda p, asked: p.quote(asked)[:-9], FormatError),
        (lambda p, asked: b"", FormatError),
        (lambda p, asked: p.quote(asked) + bytes(20000), LimitError),
    ],
)
def test_gramine_answers_that_are_wrong(
    reply: Any, error: type[Exception], tmp_path: Path, platform: SimulatedPlatform
) -> None:
    folder = gramine_folder(tmp_path)

    def answer() -> None:
        asked = (folder / "user_report_data").read_bytes()
        try:
            (folder / "quote").write_bytes(reply(platform, asked))
        except BrokenPipeError:
            return

    with device(answer), pytest.raises(error):
        GramineProvider(folder).evidence(REPORT)


def test_gramine_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="gramine-sgx"):
        GramineProvider(tmp_path / "nowhere").evidence(REPORT)
    (tmp_path / "attestation_type").write_text("epid\n")
    with pytest.raises(UnsupportedError, match="epid"):
        GramineProvider(tmp_path).evidence(REPORT)
    for report in (b"", bytes(63), bytes(65)):
        with pytest.raises(InputError):
            GramineProvider(tmp_path).evidence(report)


class PipeTsm(TsmProvider):
    """configfs-tsm whose new folders are filled with named pipes, served by a thread as the kernel would."""

    def __init__(
        self, reports: Path, reply: Callable[[bytes], bytes], provider: str = "tdx_guest", jump: int = 1
    ) -> None:
        super().__init__(reports)
        self.reply, self.provider, self.jump = reply, provider, jump
        self.closed = 0

    def _open_entry(self, entry: Path) -> None:
        super()._open_entry(entry)
        (entry / "provider").write_text(self.provider + "\n")
        (entry / "generation").write_text("0\n")
        for name in ("inblob", "outblob"):
            os.mkfifo(entry / name)
        if self.provider != "arm_cca_guest":  # nobody asks that one anything
            threading.Thread(target=self._serve, args=(entry,), daemon=True).start()

    def _serve(self, entry: Path) -> None:
        with suppress(BrokenPipeError):
            self._answer(entry)

    def _answer(self, entry: Path) -> None:
        asked = (entry / "inblob").read_bytes()
        (entry / "generation").write_text(f"{self.jump}\n")
        (entry / "auxblob").write_bytes(b"certificates")
        (entry / "outblob").write_bytes(self.reply(asked))

    def _close_entry(self, entry: Path) -> None:
        for path in entry.iterdir():
            path.unlink()
        super()._close_entry(entry)
        self.closed += 1


def test_tsm_protocol_for_tdx(tmp_path: Path, platform: SimulatedPlatform) -> None:
    provider = PipeTsm(tmp_path, lambda asked: platform.quote(asked, form="tdx-4"))
    evidence = provider.evidence(REPORT)
    assert (evidence.kind, evidence.simulated, evidence.auxiliary) == (EvidenceKind.DCAP, False, b"")
    assert parse_quote(evidence.data).report_data == REPORT
    assert provider.closed == 1
    assert list(tmp_path.iterdir()) == []


def test_tsm_protocol_for_snp(tmp_path: Path, snp_machine: Any) -> None:
    provider = PipeTsm(tmp_path, snp_machine.report, provider="sev_guest")
    evidence = provider.evidence(REPORT)
    assert (evidence.kind, evidence.auxiliary) == (EvidenceKind.SNP, b"certificates")
    assert list(tmp_path.iterdir()) == []


def test_tsm_interference_is_noticed(tmp_path: Path, platform: SimulatedPlatform) -> None:
    def quote(asked: bytes) -> bytes:
        return platform.quote(asked, form="tdx-4")

    with pytest.raises(TamperedError, match="another program"):
        PipeTsm(tmp_path, quote, jump=2).evidence(REPORT)
    with pytest.raises(TamperedError, match="other report data"):
        PipeTsm(tmp_path, lambda asked: quote(bytes(64))).evidence(REPORT)
    with pytest.raises(LimitError):
        PipeTsm(tmp_path, lambda asked: quote(asked) + bytes(16384)).evidence(REPORT)
    assert list(tmp_path.iterdir()) == []


def test_tsm_that_is_not_there_or_unknown(tmp_path: Path, platform: SimulatedPlatform) -> None:
    with pytest.raises(UnsupportedError, match=r"Linux 6\.7"):
        TsmProvider(tmp_path / "nowhere").evidence(REPORT)
    unknown = PipeTsm(tmp_path, lambda asked: b"", provider="arm_cca_guest")
    with pytest.raises(UnsupportedError, match="arm_cca_guest"):
        unknown.evidence(REPORT)


def test_open_provider_gives_hardware_only() -> None:
    assert isinstance(open_provider("gramine"), GramineProvider)
    assert isinstance(open_provider("tsm"), TsmProvider)
    assert names() == ("gramine", "tsm")
    for name in ("simulated", "simulated_pki", "base", "registry", "", "sgx"):
        with pytest.raises(InputError):
            open_provider(name)


def test_a_third_partys_provider_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("nitro", "medveil.attestation.providers.gramine:GramineProvider", registry.ENTRY_POINT_GROUP),
        EntryPoint("broken", "medveil.attestation.providers.gramine:DEVICE", registry.ENTRY_POINT_GROUP),
        EntryPoint("simulated", "medveil.attestation.providers.gramine:GramineProvider", registry.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in points if p.group == group])
    assert "nitro" in names()
    assert isinstance(open_provider("nitro"), GramineProvider)
    for name in ("broken", "simulated"):
        with pytest.raises(InputError):
            open_provider(name)


def test_simulated_platforms_are_their_seed_and_date(tmp_path: Path, platform: SimulatedPlatform) -> None:
    path = tmp_path / "platform.json"
    platform.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    again = SimulatedPlatform.load(path)
    assert again.root == platform.root
    assert again.quote(REPORT) == platform.quote(REPORT)
    assert SimulatedPlatform.create(platform.made_at).root != platform.root
    with pytest.raises(OutputExistsError):
        platform.save(path)
    for text in (
        "",
        "{}",
        '{"format": "x", "seed": "", "made_at": 1}',
        '{"format": "medveil-simulated-platform/1"}',
        "[]",
    ):
        path.write_text(text)
        with pytest.raises(ConfigError):
            SimulatedPlatform.load(path)
    with pytest.raises(InputError):
        SimulatedPlatform(bytes(31), 0)


def test_every_simulated_certificate_says_so(platform: SimulatedPlatform) -> None:
    for form in ("sgx-3", "tdx-4", "tdx-5"):
        for der in parse_quote(platform.quote(REPORT, form=form)).certificates:
            assert b"NOT INTEL - DEVELOPER SIMULATION" in der
    evidence = SimulatedProvider(platform).evidence(REPORT)
    assert evidence == Evidence(EvidenceKind.DCAP, platform.quote(REPORT), simulated=True)
