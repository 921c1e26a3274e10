"""Running, resuming, refusing; a third party's scheme appears; a false claim is named; results are data."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.evaluation.conftest import Finished, small

from medveil.errors import ConfigError, FormatError, InputError
from medveil.evaluation import plan as plans
from medveil.evaluation import results as records
from medveil.evaluation import run as running
from medveil.evaluation import scorecard
from medveil.evaluation.scorecard import COLUMNS, Verdict


def test_every_row_has_every_column_from_records(finished: Finished) -> None:
    rows = scorecard.build(finished.results)
    assert [row.subject for row in rows] == ["aes-256-gcm", "acme-vault", "roi-watermark paper"]
    keys = {r.key for r in finished.results.records}
    for row in rows:
        assert list(row.cells) == [c.name for c in COLUMNS]
        for cell in row.cells.values():
            assert set(cell.evidence) <= keys
            assert cell.evidence or cell.verdict is Verdict.MISSING
            assert cell.why
    aes = rows[0].cells
    assert aes["lossless"].verdict is aes["verifies"].verdict is aes["one part"].verdict is Verdict.PASS
    assert aes["localises"].verdict is aes["repairs"].verdict is Verdict.FAIL
    assert aes["unlinkable"].verdict is Verdict.PASS
    assert aes["learnable"].verdict is Verdict.MISSING  # not in this plan


def test_a_false_claim_is_named(finished: Finished) -> None:
    rows = scorecard.build(finished.results)
    false = scorecard.false_claims(rows)
    assert len(false) == 1
    assert false[0].startswith("acme-vault claims lossless and fails it")
    assert not rows[1].cells["lossless"].agrees
    assert "claimed otherwise" in scorecard.as_markdown(rows)


def test_who_claims_security_claims_it_against_chosen_pictures(acme: Path, tmp_path: Path) -> None:
    """A third party's cipher without a nonce: no known pair decodes others, and a chosen bit stays where it is."""
    rows = [{"scheme": "acme-chained"}, {"scheme": "aes-256-gcm"}, {"scheme": "deep-invertible"}]
    options = {"known-plaintext": {"learners": ["places", "linear"]}, "chosen-difference": {"enough": 1}}
    given = small(schemes=rows, metrics=["attacks"], attacks=list(options), attack_options=options)
    built = scorecard.build(running.run(plans.parse(given), tmp_path / "report"))
    chained, aes, deep = (row.cells["known plaintext"] for row in built)
    assert (chained.verdict, chained.text) == (Verdict.FAIL, "known only")
    assert not chained.agrees
    assert "pass through" in chained.why
    assert (aes.verdict, aes.text) == (Verdict.PASS, "survives")
    assert (deep.verdict, deep.text, deep.agrees) == (Verdict.PASS, "known only", True)
    assert "chosen-difference" in deep.evidence[0]
    assert scorecard.false_claims(built) == [f"acme-chained claims known plaintext and fails it: {chained.why}"]


def test_the_owners_own_quality_stands_beside_the_attack(tmp_path: Path) -> None:
    given = small(
        schemes=[{"scheme": "deep-backprop"}, {"scheme": "deep-invertible"}],
        metrics=["attacks"],
        attacks=["known-plaintext"],
        attack_options={"known-plaintext": {"learners": ["linear"]}},
    )
    lossy, exact = running.run(plans.parse(given), tmp_path / "report").records[:2]
    assert 20 < lossy.values["psnr of the owner"]["value"] < 50
    assert "the owner decodes" in lossy.note
    assert "psnr of the owner" not in exact.values


def test_a_weak_profile_fails_and_its_claim_says_so(finished: Finished) -> None:
    paper = scorecard.build(finished.results)[2]
    assert paper.cells["known plaintext"].verdict is Verdict.FAIL
    assert paper.cells["verifies"].verdict is Verdict.FAIL
    assert not paper.secure
    assert all(cell.agrees for cell in paper.cells.values())


def test_results_are_data_with_environment_and_seeds(finished: Finished) -> None:
    table = pq.read_table(finished.folder / records.TABLE)
    about = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    assert json.loads(about["environment"])["packages"]["numpy"]
    assert json.loads(about["plan"])["seed"] == 5
    assert about["command"].startswith("medveil evaluate")
    rows = table.to_pylist()
    psnr = [r for r in rows if r["figure"] == "psnr" and r["subject"] == "acme-vault"]
    assert psnr[0]["low"] <= psnr[0]["value"] <= psnr[0]["high"]
    assert psnr[0]["n"] == 6
    assert {r["seed"] for r in rows} == {r.seed for r in finished.results.records}
    again = records.read(finished.folder)
    assert records.as_dict(again) == json.loads(json.dumps(records.as_dict(finished.results)))


def test_the_same_seed_gives_the_same_figures(finished: Finished, tmp_path: Path) -> None:
    """Of what does not depend on fresh keys or time."""
    chosen = plans.parse(small(schemes=[{"scheme": "aes-256-gcm"}], metrics=["reconstruction"]))
    found = running.run(chosen, tmp_path / "again")
    first = finished.results.of("aes-256-gcm", "reconstruction")[0]
    assert found.records[0].seed == first.seed
    for name in ("psnr", "stored_kb", "exact_images", "mse"):
        assert found.records[0].values[name] == first.values[name]


def test_a_run_goes_on_where_it_was_interrupted(finished: Finished, tmp_path: Path) -> None:
    chosen = plans.parse(small(schemes=[{"scheme": "aes-256-gcm"}], metrics=["reconstruction", "secrecy", "tampering"]))
    out = tmp_path / "report"

    def interrupt(_what: str, done: int, _total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        running.run(chosen, out, progress=interrupt)
    there = {p: p.stat().st_mtime_ns for p in (out / "tasks").glob("*.json")}
    assert there
    assert not (out / records.RESULTS).exists()
    seen: list[int] = []
    found = running.run(chosen, out, progress=lambda _w, done, _t: seen.append(done))
    assert seen[0] == len(there)
    assert seen[-1] == len(found.records) == 3
    assert {p: p.stat().st_mtime_ns for p in there} == there


def test_a_run_of_more_rows_goes_on_with_those_that_are_there(tmp_path: Path) -> None:
    def rows(*schemes: dict[str, object]) -> plans.Plan:
        return plans.parse(small(schemes=list(schemes), metrics=["speed"], workers=1))

    out = tmp_path / "report"
    first = running.run(rows({"scheme": "aes-256-gcm"}), out)
    file = out / "tasks" / f"{first.records[0].key}.json"
    before = file.stat().st_mtime_ns
    second = running.run(rows({"scheme": "aes-256-gcm"}, {"scheme": "sealed", "label": "sealed"}), out)
    assert [r.subject for r in second.records] == ["aes-256-gcm", "sealed"]
    assert file.stat().st_mtime_ns == before
    other = {"scheme": "sealed", "label": "sealed", "options": {"threshold": [1, 1]}}
    third = running.run(rows({"scheme": "aes-256-gcm"}, other), out)  # the label is the same, the options are not
    assert third.records[1].options == {"threshold": (1, 1)}
    assert third.records[1].values["stored_over_original"] < second.records[1].values["stored_over_original"]


def test_other_plans_and_other_versions_are_refused(finished: Finished, tmp_path: Path) -> None:
    chosen = plans.parse(small(schemes=[{"scheme": "aes-256-gcm"}], metrics=["reconstruction"]))
    out = tmp_path / "report"
    records.Folder(out).start("another", force=False)
    with pytest.raises(ConfigError, match="another plan"):
        running.run(chosen, out)
    said = {"format": records.FORMAT, "version": 99, "plan": chosen.digest()}
    (out / "plan.json").write_text(json.dumps(said))
    with pytest.raises(FormatError, match="version 99"):
        running.run(chosen, out)
    other = tmp_path / "photos"
    other.mkdir()
    (other / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match="other files"):
        running.run(chosen, other)
    results = json.loads((finished.folder / records.RESULTS).read_text())
    for change, error in (({"version": 2}, FormatError), ({"format": "other"}, FormatError)):
        (tmp_path / "results.json").write_text(json.dumps(results | change))
        with pytest.raises(error):
            records.read(tmp_path / "results.json")
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(InputError):
        records.read(tmp_path / "results.json")
    with pytest.raises(InputError, match="no results"):
        records.read(tmp_path / "nothing")


def test_a_scheme_that_breaks_stops_nothing(acme: Path, tmp_path: Path) -> None:
    rows = [{"scheme": "acme-broken"}, {"scheme": "aes-256-gcm"}]
    found = running.run(plans.parse(small(schemes=rows, metrics=["reconstruction"])), tmp_path / "report")
    assert [r.status for r in found.records] == ["failed", "done"]
    assert "ZeroDivisionError" in found.records[0].note
    assert records.unfinished(found.records) == found.records[:1]
    broken = scorecard.build(found)[0].cells["lossless"]
    assert broken.verdict is Verdict.MISSING
    assert "ZeroDivisionError" in broken.why
