"""Documents that carry measured sections: each lies between marks and is replaced by the run that measured it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path


def write(page: Path, section: str, text: str) -> None:
    """Put a section's results between its marks on the page."""
    begin, end = f"<!-- measured: {section} -->", f"<!-- end: {section} -->"
    content = page.read_text(encoding="utf-8")
    found = re.search(f"{re.escape(begin)}.*?{re.escape(end)}", content, re.DOTALL)
    if found is None:
        raise SystemExit(f"{page.name} has no marks for section {section}")
    page.write_text(f"{content[: found.start()]}{begin}\n\n{text}\n\n{end}{content[found.end() :]}", encoding="utf-8")


def measure(
    about: str | None, page: Path, sections: Sequence[str], run: Callable[[str, bool], str], *, quick: bool = True
) -> None:
    """Run the sections that the command line names (all by default), print each and put it on its page.

    about: the module's docstring. run(section, quick) returns Markdown. `--quick` asks for less, where there is
    less to ask for; `--print` leaves the page alone.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    parser.set_defaults(quick=False)
    if quick:
        parser.add_argument("--quick", action="store_true")
    parser.add_argument("--print", action="store_true", dest="only_print")
    options = parser.parse_args()
    unknown = set(options.sections) - set(sections)
    if unknown:
        parser.error(f"there is no section {', '.join(sorted(unknown))}: choose of {', '.join(sections)}")
    for section in options.sections or sections:
        text = run(section, options.quick)
        print(text, end="\n\n", flush=True)
        if not options.only_print:
            write(page, section, text)
