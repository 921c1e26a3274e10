"""Plans: every error at once, what is left out is everything, third parties' schemes appear by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.evaluation.conftest import small

from medveil.errors import ConfigError
from medveil.evaluation import measures, plan, run, subjects
from medveil.schemes import registry


def test_every_error_is_named_at_once_and_nothing_runs(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text("""
        sead = 1
        metrics = ["reconstruction", "beauty"]
        attacks = ["linkage", "telepathy"]
        [[corpora]]
        name = "chest"
        path = "nowhere"
        [[corpora]]
        name = "Not A Name"
        [[schemes]]
        scheme = "rot13"
        [[schemes]]
        scheme = "sealed"
        options = { colour = "red" }
        [effort]
        images = 0
    """)
    with pytest.raises(ConfigError) as caught:
        plan.read(file, tmp_path)
    said = str(caught.value)
    for word in (
        "sead",
        "'beauty'",
        "'telepathy'",
        "no nowhere",
        "[1].name",
        "'rot13'",
        "no option colour",
        "images",
    ):
        assert word in said, f"{word} is not named in: {said}"
    assert "8 errors, nothing was run" in said
    assert not (tmp_path / "report").exists()


def test_what_is_no_plan_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text("title = ")
    with pytest.raises(ConfigError, match="not a TOML plan"):
        plan.read(file)
    file.write_text("#" * (2 << 20))
    with pytest.raises(ConfigError, match="larger"):
        plan.read(file)
    with pytest.raises(ConfigError, match="give one with --data"):
        plan.parse(small(corpora=[{"name": "chest", "path": "chest_xray_nih"}]))
    with pytest.raises(ConfigError, match="two schemes are called sealed"):
        plan.parse(small(schemes=[{"scheme": "sealed"}, {"scheme": "sealed"}]))


def test_everything_by_default_with_variants_and_third_parties(acme: Path) -> None:
    chosen = plan.default()
    labels = [s.label for s in chosen.subjects()]
    for name in registry.names():
        assert any(label.startswith(name) for label in labels)
    assert {"roi-watermark paper", "roi-watermark hardened", "sealed", "sealed 1/1"} <= set(labels)
    assert {"acme-vault fast", "acme-vault thorough", "acme-broken"} <= set(labels)
    assert labels[0] == "aes-256-gcm"
    assert labels[-1] == "three-server-learning"
    assert len({s.slug for s in chosen.subjects()}) == len(labels)
    assert chosen.measure_names() == measures.names()
    tasks = list(run.tasks(chosen))
    assert len({t.key for t in tasks}) == len(tasks)
    assert len({t.seed for t in tasks}) == len(tasks)
    assert {t.subject.label for t in tasks} == {*labels, "plain"}


def test_quick_does_less_of_the_same() -> None:
    quick, whole = plan.default(quick=True), plan.default()
    assert quick.measure_names() == whole.measure_names()
    assert [s.label for s in quick.subjects()] == [s.label for s in whole.subjects()]
    assert quick.effort.images < whole.effort.images
    assert quick.digest() != whole.digest()


def test_the_digest_names_what_changes_every_result(acme: Path) -> None:
    first = plan.parse(small())
    for same in ({"title": "other"}, {"workers": 1}, {"attacks": ["linkage"]}, {"schemes": [{"scheme": "sealed"}]}):
        assert first.digest() == plan.parse(small(**same)).digest()
    for other in ({"seed": 6}, {"effort": {"images": 5}}, {"attack_options": {"known-plaintext": {"steps": 9}}}):
        assert first.digest() != plan.parse(small(**other)).digest()
    with pytest.raises(ConfigError, match="no option pace"):
        plan.parse(small(attack_options={"linkage": {"pace": 3}}))


def test_unknown_names() -> None:
    from medveil.errors import UsageError

    with pytest.raises(UsageError, match="no metric"):
        measures.load("beauty")
    with pytest.raises(UsageError, match="no scheme"):
        subjects.load("rot13")
