"""A report is one HTML file: no script, no network, readable in light and dark.

The only module that imports jinja2 (extra `report`). Must not know what a report is about.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).resolve().parent / "templates"


def render(template: str, path: Path, **content: Any) -> None:
    """Fill a template of ours and write it; text is escaped, only `Markup` is taken as it is."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    path.write_text(environment.get_template(template).render(**content), encoding="utf-8")
