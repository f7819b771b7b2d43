"""Write the tables that come from the code anew, between their markers: python -m scripts.settings_table.

All settings in docs/settings.md, the threshold rules in docs/detection.md, refused records in docs/errors.md.
"""

from __future__ import annotations

from pathlib import Path

from scripts.error_tables import dead_letters_table, fruitless_table
from scripts.rule_tables import formulas_table, rules_table
from streamae.settings.documents import settings_table, with_table

DOCS = Path(__file__).parent.parent / "docs"
TABLES = {
    "settings.md": {"settings": settings_table},
    "detection.md": {"rules": rules_table, "formulas": formulas_table},
    "errors.md": {"dead_letters": dead_letters_table, "fruitless": fruitless_table},
}


def renewed(page: Path) -> str:
    """Return the text of a page of `TABLES` with its tables made anew."""
    text = page.read_text(encoding="utf-8")
    for name, table in TABLES[page.name].items():
        text = with_table(text, name, table())
    return text


def main() -> None:
    """Rewrite the pages in place."""
    for name in TABLES:
        page = DOCS / name
        page.write_text(renewed(page), encoding="utf-8")


if __name__ == "__main__":
    main()
