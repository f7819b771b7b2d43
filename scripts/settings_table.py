"""Write the table of all settings anew between the two markers of docs/settings.md: python -m scripts.settings_table."""

from __future__ import annotations

from pathlib import Path

from streamae.settings.documents import with_settings_table

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"


def main() -> None:
    """Rewrite the page in place."""
    PAGE.write_text(with_settings_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
