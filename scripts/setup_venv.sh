#!/usr/bin/env bash
# Create the virtual environment and install streamae with its development tools at the tested versions.
# Usage: scripts/setup_venv.sh [FOLDER]      PYTHON=/path/to/python3.x chooses the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${1:-.venv}

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3 python3.12 python3.13; do
        # A name on PATH may be a version manager's shim that starts nothing: only a run tells.
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "streamae needs Python 3.11 or newer: install it, or name it with PYTHON=/path/to/python3.11" >&2
    return 1
}

if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    python=$(find_python)
    echo "creating $venv with $python"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then # Debian ships Python without it
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        scripts/setup_system.sh "python$version-venv"
    fi
    "$python" -m venv --clear "$venv"
fi
echo "installing into $venv (the first time takes a few minutes: torch is large)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
touch "$venv/.installed" # make compares it with pyproject.toml and constraints.txt
