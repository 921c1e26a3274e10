"""The report: self-contained, every picture inside, every cell leads to its evidence; charts hide no point."""

from __future__ import annotations

import math
import re

import pytest
from tests.evaluation.conftest import Finished

from medveil.evaluation import charts, report, scorecard
from medveil.evaluation.results import Record, Results


@pytest.fixture(scope="module")
def page(finished: Finished) -> str:
    return report.render(finished.results, scorecard.build(finished.results), finished.folder)


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    links = re.findall(r"""(?:src|href|action|data|poster|srcset)\s*=\s*["']?([^"'\s>]+)""", page)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|<(iframe|object|embed|link rel=.?stylesheet)", page)


def test_every_cell_leads_to_evidence_that_is_there(page: str) -> None:
    anchors = set(re.findall(r'id="([^"]+)"', page))
    wanted = set(re.findall(r'href="#([^"]+)"', page))
    assert len(wanted) > 10
    assert wanted <= anchors


def test_what_a_person_looks_for_is_on_the_page(page: str, finished: Finished) -> None:
    for words in ("acme-vault claims lossless", "medveil evaluate --plan small.toml", "what a cloud sees", "attacked:"):
        assert words in page
    assert page.count("data:image/png;base64,") > 10
    assert str(finished.results.environment["processor"]) in page
    assert "nothing about security" in page


def test_text_from_schemes_is_escaped(finished: Finished) -> None:
    rows = [
        scorecard.Row(row.subject, row.secure, "<script>alert(1)</script>", row.cells)
        for row in scorecard.build(finished.results)
    ]
    assert "<script>alert" not in report.render(finished.results, rows, finished.folder)


def test_points_that_would_hide_one_another_are_moved_apart() -> None:
    points = [charts.Point(i + 1, f"scheme {i}", 0.0, 0.5) for i in range(20)]
    svg = charts.scatter(points, "leak", "F1", "title")
    at = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="10"', svg)]
    assert len(at) == 20
    assert min(math.dist(a, b) for i, a in enumerate(at) for b in at[:i]) > 20


@pytest.mark.parametrize(("broken", "shown"), [(True, 0.9), (False, 0.1)])
def test_a_chart_counts_what_known_plaintext_decoded_where_it_broke_the_scheme(broken: bool, shown: float) -> None:
    def record(detail: str, **values: object) -> Record:
        return Record("deep", "deep", {}, "chest", "attacks", detail, 1, "done", values=values)

    decoded = {"ssim patches 64": {"value": 0.9}, "ssim of the owner": {"value": 0.99}, "broken": broken}
    records = [record("known-plaintext", **decoded), record("leading-bit", ssim={"value": 0.1}, broken=False)]
    found = report._leak(Results({}, "", {}, {}, {}, "", records), "deep", "chest", "ssim")
    assert found == (shown, shown)


def test_figures() -> None:
    assert report.figure(None) == "-"
    assert report.figure(True) == "yes"
    assert report.figure(0.00001234) == "1.234e-05"
    assert (
        report.figure({"value": 0.5, "low": 0.25, "high": 0.75, "chance": 0.1, "n": 3}, 2)
        == "0.50 [0.25, 0.75], chance 0.10"
    )
    assert charts.bars([], "MB/s", "none") == ""
