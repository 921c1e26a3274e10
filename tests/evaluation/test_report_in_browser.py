"""The report in a real browser without network: no error, every picture shown, evidence opens where a cell leads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.evaluation.browser import page
from tests.evaluation.conftest import Finished

from medveil.evaluation import report, scorecard

pytestmark = pytest.mark.integration


def test_the_report_opens_without_an_error_and_shows_every_picture(finished: Finished, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(report.render(finished.results, scorecard.build(finished.results), finished.folder))
    with page() as tab:
        tab.open(file.as_uri())
        pictures = tab.value("document.images.length")
        assert pictures > 10
        shown = "[...document.images].filter(i => i.complete && i.naturalWidth > 0 && i.clientWidth > 0).length"
        assert tab.value(shown) == pictures
        assert tab.value("document.querySelectorAll('svg').length") > 0
        assert tab.value("document.documentElement.scrollWidth <= innerWidth + 1")
        cell = "document.querySelector('.card td a')"
        tab.value(f"{cell}.click()")
        tab.value("new Promise(done => setTimeout(done, 200))")
        opened = "document.getElementById(location.hash.slice(1)).closest('details').open"
        assert tab.value(opened)
        assert tab.errors == []
        assert all(address.startswith(("file:", "data:")) for address in tab.requests), tab.requests


def test_it_is_readable_on_a_phone_and_in_the_dark(finished: Finished, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(report.render(finished.results, scorecard.build(finished.results), finished.folder))
    with page() as tab:
        tab.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
        tab.open(file.as_uri())
        assert tab.value("document.documentElement.scrollWidth") <= 390
        wide = "[...document.images].every(i => i.getBoundingClientRect().right <= innerWidth + 1)"
        assert tab.value(wide)
        asked = (
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color, "
            "getComputedStyle(document.querySelector('.chart')).backgroundColor, "
            "getComputedStyle(document.querySelector('svg text')).fill]"
        )
        light = tab.value(asked)
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        dark = [[int(n) for n in re.findall(r"\d+", c)[:3]] for c in tab.value(asked)]
        assert min(int(n) for n in re.findall(r"\d+", light[0])[:3]) > 200
        assert max(dark[0] + dark[2]) < 60  # the page and its charts
        assert min(dark[1] + dark[3]) > 140  # what is written on them


def test_a_broken_page_would_be_noticed(tmp_path: Path) -> None:
    file = tmp_path / "broken.html"
    file.write_text(
        "<img src='data:image/png;base64,AAAA'><script src='http://example.test/x.js'></script><script>no()</script>"
    )
    with page() as tab:
        tab.open(file.as_uri())
        assert tab.value("document.images[0].naturalWidth") == 0
        assert tab.errors
        assert any(address.startswith("http:") for address in tab.requests)
