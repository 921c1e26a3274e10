"""`medveil evaluate`: exit codes, JSON, plans refused before anything runs, the report written anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.evaluation.conftest import Finished
from typer.testing import CliRunner

from medveil.cli.main import app
from medveil.errors import ConfigError, FormatError, InputError, UsageError

RUN = CliRunner()


@pytest.fixture
def report(finished: Finished, tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    shutil.copytree(finished.folder, folder)
    return folder


def test_a_false_claim_gives_exit_code_10(report: Path) -> None:
    done = RUN.invoke(app, ["evaluate", "--report-only", "--out", str(report), "--json"])
    assert done.exit_code == 10
    said = json.loads(done.stdout)
    assert not said["ok"]
    assert len(said["false_claims"]) == 1
    assert said["false_claims"][0].startswith("acme-vault claims lossless")
    row = next(r for r in said["scorecard"] if r["scheme"] == "aes-256-gcm")
    assert row["lossless"] == {"verdict": "pass", "text": "exact"}
    assert (report / "report.html").read_text().startswith("<!doctype html>")
    assert "aes-256-gcm" in (report / "scorecard.md").read_text()


def test_the_same_for_people(report: Path) -> None:
    done = RUN.invoke(app, ["evaluate", "--report-only", "--out", str(report)])
    assert "acme-vault claims lossless and fails it" in done.stdout
    assert "open it in a browser" in done.stdout


def test_an_honest_row_gives_exit_code_0(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'metrics = ["reconstruction"]\n[[corpora]]\nname = "chest"\nsize = 32\nimages = 8\n'
        '[[schemes]]\nscheme = "aes-256-gcm"\n[effort]\nimages = 4\n'
    )
    checked = RUN.invoke(app, ["evaluate", "--plan", str(plan), "--check", "--json", "--out", str(tmp_path / "r")])
    assert json.loads(checked.stdout) == {"ok": True, "corpora": ["chest"], "schemes": ["aes-256-gcm"], "tasks": 1}
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--schemes", "rot13,caesar"], ConfigError),
        (["--plan", "missing.toml"], UsageError),
        (["--report-only"], InputError),
    ],
)
def test_refusals(words: list[str], error: type[Exception], tmp_path: Path) -> None:
    done = RUN.invoke(app, ["evaluate", *words, "--out", str(tmp_path / "report")])
    assert isinstance(done.exception, error)
    assert not (tmp_path / "report").exists()
    if error is ConfigError:
        assert "rot13" in str(done.exception)
        assert "caesar" in str(done.exception)


def test_results_of_another_version_are_refused(report: Path) -> None:
    said = json.loads((report / "results.json").read_text())
    (report / "results.json").write_text(json.dumps(said | {"version": 9}))
    done = RUN.invoke(app, ["evaluate", "--report-only", "--out", str(report)])
    assert isinstance(done.exception, FormatError)
