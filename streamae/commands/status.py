"""What `streamae status` does: ask the daemon of these settings how it is, and say it in a few lines.

Must not know how the daemon finds out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from streamae.commands.invocation import Invocation
from streamae.daemon.health import STATUS_PATH
from streamae.errors import ConfigError, ExitCode, FatalError
from streamae.settings.serving import ServiceSettings

TIMEOUT_S = 5.0
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - listening everywhere includes here
COUNTS = ("partitions", "replaying", "recovering", "halted", "waiting_windows", "waiting_messages")


def url_of(service: ServiceSettings) -> str:
    """Return where the daemon of these settings answers, seen from this machine.

    Raises:
        ConfigError: the port is any free one.
    """
    if service.http_port == 0:
        raise ConfigError(["service.http_port: 0 is any free port: give --url http://HOST:PORT as the log names it"])
    host = ANYWHERE.get(service.http_host, service.http_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{service.http_port}"


def ask(url: str) -> dict[str, Any]:
    """Return what the daemon at `url` says of itself.

    Raises:
        FatalError: nobody answers there, or not as a daemon of ours does.
    """
    if not url.startswith(("http://", "https://")):
        raise FatalError(f"{url}: give an address that begins with http://")
    try:
        with urlopen(url.rstrip("/") + STATUS_PATH, timeout=TIMEOUT_S) as answer:  # noqa: S310 - checked above
            found = json.load(answer)
    except (URLError, OSError) as error:
        raise FatalError(f"no daemon answers at {url}: {error}") from error
    except ValueError as error:
        raise FatalError(f"{url} is no streamae daemon, or another version of it: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("reasons"), list):
        raise FatalError(f"{url} is no streamae daemon, or another version of it: no reasons in its answer")
    return found


def describe(found: Mapping[str, Any]) -> str:
    """Return the answer as text: readiness, counts, and a line for each state of keys with its reason."""
    lines = ["ready" if found.get("ready") else f"not ready: {'; '.join(found['reasons']) or 'no reason given'}"]
    counts = [f"{name.replace('_', ' ')} {found[name]}" for name in COUNTS if name in found]
    lines += [", ".join(counts)] if counts else []
    lines += [f"warning: {warning}" for warning in found.get("warnings", ())]
    standings = found.get("key_states")
    if standings is None:
        return "\n".join([*lines, "keys are not counted yet"])
    lines.append(f"keys {found.get('keys', 0):,}")
    for one in standings:
        progress = "" if one["progress"] is None else f"{one['progress']:.0%}"
        examples = f" ({', '.join(one['examples'])})" if one["examples"] else ""
        features = f": {', '.join(one['features'])}" if one.get("features") else ""
        lines.append(
            f"  {one['state']:12}{one['keys']:>10,}{progress:>6}  {one['reason']}{features}{examples}".rstrip()
        )
    return "\n".join(lines)


def main(invocation: Invocation) -> int:
    """Do what `streamae status` was asked for."""
    options = invocation.options
    found = ask(options.url or url_of(invocation.load(awaits_bundle=True).settings.service))
    print(json.dumps(found, indent=2) if options.json else describe(found))
    return ExitCode.OK
