"""Write the table of all settings anew between the two markers of README.md: python -m scripts.settings_table."""

from __future__ import annotations

from pathlib import Path

from streamae.settings.documents import with_settings_table

README = Path(__file__).parent.parent / "README.md"


def main() -> None:
    """Rewrite README.md in place."""
    README.write_text(with_settings_table(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
