"""Documents that carry measured sections: each lies between marks and is replaced by the run that measured it."""

from __future__ import annotations

import re
from pathlib import Path


def write(page: Path, section: str, text: str) -> None:
    """Put a section's results between its marks on the page."""
    begin, end = f"<!-- measured: {section} -->", f"<!-- end: {section} -->"
    content = page.read_text(encoding="utf-8")
    found = re.search(f"{re.escape(begin)}.*?{re.escape(end)}", content, re.DOTALL)
    if found is None:
        raise SystemExit(f"{page.name} has no marks for section {section}")
    page.write_text(f"{content[: found.start()]}{begin}\n\n{text}\n\n{end}{content[found.end() :]}", encoding="utf-8")
