"""Documentation that lies fails the build: links, commands, names and claims are checked against the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from medveil import errors
from medveil.cli.main import app
from medveil.schemes import registry

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("vectors/**/*.md")])
COMMAND = re.compile(r"^(?:\$ )?medveil ([a-z][a-z-]*)(?: ([a-z][a-z0-9-]*))?(.*)$")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{_name(page)} links to {target}, which is not there"


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.replace("`", "").lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_to_headings_find_them(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)]*)\)", page.read_text(encoding="utf-8")):
        other = page.parent / target if target else page
        if other.suffix == ".md":
            assert anchor in _anchors(other), f"{_name(page)} links to {target}#{anchor}, a heading that is not there"


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"^- \[(.+)\]\((.+\.md)\)$", (folder / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    pages = [p for p in folder.glob("*.md") if p.name != "README.md"]
    assert sorted(listed) == sorted((p.read_text("utf-8").splitlines()[0].removeprefix("# "), p.name) for p in pages)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files_named_in_prose_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for named in re.findall(r"`((?:docs|tests|src|vectors|benchmarks|schemes|decisions)/[\w./-]*[\w/])`", text):
        places = (ROOT / named, ROOT / "docs" / named, ROOT / "src/medveil" / named, page.parent / named)
        assert any(p.exists() for p in places), f"{_name(page)} names {named}, which is not there"


def _commands_in(page: Path) -> list[tuple[str, str | None, str]]:
    found = []
    for block in re.findall(r"```[a-z]*\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        for line in block.splitlines():
            match = COMMAND.match(line.strip())
            if match:
                found.append((match[1], match[2], match[3]))
    return found


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_exist_with_their_options(page: Path) -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for first, second, rest in _commands_in(page):
        assert first in commands, f"{_name(page)} shows `medveil {first}`, which does not exist"
        command = commands[first]
        if hasattr(command, "commands"):
            assert second in command.commands, f"{_name(page)} shows `medveil {first} {second}`, which does not exist"
            command = command.commands[second]
        if hasattr(command, "commands"):  # a group in a group
            third, _, rest = rest.strip().partition(" ")
            shown = f"medveil {first} {second} {third}"
            assert third in command.commands, f"{_name(page)} shows `{shown}`, which does not exist"
            command = command.commands[third]
        known = {opt for p in command.params for opt in (*p.opts, *p.secondary_opts)} | {"--help"}
        for option in re.findall(r"(?<!\S)(--[a-z][a-z0-9-]*)", rest.split(" #")[0]):
            assert option in known, f"{_name(page)}: `medveil {first}` has no option {option}"


def test_every_scheme_has_its_page() -> None:
    for name in registry.names():  # schemes of one family share a page
        pages = (f"{name}.md", f"{name.partition('-')[0]}.md")
        assert any((ROOT / "docs/schemes" / page).is_file() for page in pages), f"docs/schemes/{name}.md is missing"


def test_the_error_tree_is_drawn_as_it_is() -> None:
    drawn = set(re.findall(r"(\w+Error)\b", errors.__doc__ or ""))
    real = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, errors.MedveilError)}
    assert drawn == real


def test_exit_codes_are_documented() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    codes = {v.exit_code for v in vars(errors).values() if isinstance(v, type) and issubclass(v, errors.MedveilError)}
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", readme, flags=re.MULTILINE)}
    assert codes - {1} <= table
    assert {0, 10} <= table


def test_version_is_in_the_changelog() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {version}" in changelog or "## Unreleased" in changelog


def test_sample_images_name_their_licence() -> None:
    folder = ROOT / "src/medveil/imaging/samples"
    listed = (folder / "README.md").read_text(encoding="utf-8")
    for image in folder.iterdir():
        if image.is_file() and image.suffix not in {".py", ".md", ".csv", ".toml"}:
            assert image.name in listed, f"{image.name} is carried without its licence"
