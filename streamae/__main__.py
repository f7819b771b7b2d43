"""`python -m streamae`: the same as the `streamae` command."""

from __future__ import annotations

import sys

from streamae.cli import main

if __name__ == "__main__":
    sys.exit(main())
