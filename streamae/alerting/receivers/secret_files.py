"""Secrets of receivers, read from their files once, and how they are shown to a service. Never logged.

Must not know: receivers.
"""

from __future__ import annotations

import base64
from pathlib import Path

from streamae.errors import ConfigError
from streamae.settings.delivery import ReceiverSettings


def setting_name(settings: ReceiverSettings, field: str) -> str:
    """Return the name of a receiver's setting as problems are told with."""
    return f"alerts.receivers[{settings.name}].{field}"


def read_secret_file(path: Path, name: str) -> str:
    """Return the secret in `path`, without the end of its line.

    Raises:
        ConfigError: it cannot be read, is empty, or holds what no secret holds; named by the setting `name`.
    """
    text = _read(path, name).strip()
    if not text:
        raise ConfigError([f"{name}: is empty: {path}"])
    if not text.isprintable():
        raise ConfigError([f"{name}: more than one line, or control characters: {path}"])
    return text


def read_lines(path: Path, name: str) -> list[str]:
    """Return the lines of `path` that are not empty and no comment (`#`).

    Raises:
        ConfigError: it cannot be read, or has none; named by the setting `name`.
    """
    lines = [line.strip() for line in _read(path, name).splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise ConfigError([f"{name}: is empty: {path}"])
    return found


def _read(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError([f"{name}: cannot be read: {path}: {reason}"]) from error


def authorization(settings: ReceiverSettings) -> tuple[dict[str, str], list[str]]:
    """Return the headers that authenticate us, and every secret in them, as it stands and as it is sent.

    Raises:
        ConfigError: a file of them cannot be used, or both kinds are set.
    """
    if settings.token_file is not None and settings.password_file is not None:
        raise ConfigError([f"{setting_name(settings, 'token_file')}: either this or username, not both"])
    if settings.token_file is not None:
        token = read_secret_file(settings.token_file, setting_name(settings, "token_file"))
        if not token.isascii():
            raise ConfigError([f"{setting_name(settings, 'token_file')}: not ASCII: {settings.token_file}"])
        return {"Authorization": f"Bearer {token}"}, [token]
    if settings.password_file is None or settings.username is None:
        return {}, []
    password = read_secret_file(settings.password_file, setting_name(settings, "password_file"))
    sent = base64.b64encode(f"{settings.username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {sent}"}, [password, sent]
