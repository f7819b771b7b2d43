"""Silences of Alertmanager by its v2 API: made, listed, ended. Must not know: who asks for them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from streamae.alerting.answers import Answer, ForbiddenAddressError, UnreachableError
from streamae.alerting.http_client import HttpClient, Request
from streamae.alerting.receivers.facts import rfc3339
from streamae.errors import RetryableError

PATH = "/api/v2/silences"
ONE_PATH = "/api/v2/silence/"
MOST_BYTES = 16_777_216
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")


class SilenceFailedError(RetryableError):
    """No member has done what was asked. The message says what each answered, without secrets."""


@dataclass(frozen=True, slots=True)
class ForeignSilence:
    """A silence as Alertmanager lists it.

    Attributes:
        id: there.
        state: `active`, `pending` or `expired`.
        matchers: as people write them: `key=~"rack-7-.*"`.
        ends_at: RFC 3339.
        who: created it.
        why: comment.
    """

    id: str
    state: str
    matchers: tuple[str, ...]
    ends_at: str
    who: str
    why: str


class SilenceApi:
    """Silences of one cluster: its members tell each other, so that the first one that answers is enough.

    Args:
        urls: of the members, without `/api`.
        client: asks them.
        headers: for authentication and the type of content.
        secrets: what an answer may repeat and we do not.
    """

    def __init__(
        self, urls: Sequence[str], client: HttpClient, headers: Mapping[str, str], secrets: Sequence[str] = ()
    ) -> None:
        self._urls, self._client, self._headers, self._secrets = urls, client, headers, secrets

    def create_silence(self, patterns: Mapping[str, str], starts_ms: int, ends_ms: int, who: str, why: str) -> str:
        """Silence alerts whose labels fit, and return the id of the silence.

        Args:
            patterns: by label: `*` any text, `?` a character, `[ab]` one of them, as in routes.
            starts_ms: wall clock.
            ends_ms: wall clock.
            who: asked for it.
            why: for whoever finds it.

        Raises:
            SilenceFailedError: no member took it.
        """
        matchers = [
            {"name": name, "value": as_regex(pattern), "isRegex": True, "isEqual": True}
            for name, pattern in sorted(patterns.items())
        ]
        wanted = {
            "matchers": matchers,
            "startsAt": rfc3339(starts_ms),
            "endsAt": rfc3339(ends_ms),
            "createdBy": who,
            "comment": why,
        }
        answer = self._ask("POST", PATH, json.dumps(wanted).encode())
        found = _read(answer)
        silence_id = found.get("silenceID") if isinstance(found, dict) else None
        if not isinstance(silence_id, str):
            raise SilenceFailedError("Alertmanager answered without the id of the silence")
        return silence_id

    def expire_silence(self, silence_id: str) -> None:
        """End a silence.

        Raises:
            SilenceFailedError: no member knows it, or none answers.
        """
        self._ask("DELETE", ONE_PATH + quote(silence_id, safe=""))

    def list_silences(self) -> list[ForeignSilence]:
        """Return all silences that a member knows, also those of others and those that are over.

        Raises:
            SilenceFailedError: none answers.
        """
        found = _read(self._ask("GET", PATH))
        return [_silence(one) for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def _ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Ask one member after the other until one has done it."""
        answers = []
        for url in self._urls:
            try:
                answer = self._client.ask(Request(method, url + path, body, self._headers, most_bytes=MOST_BYTES))
            except (UnreachableError, ForbiddenAddressError) as error:
                answers.append(str(error))
                continue
            if answer.status in range(200, 300):
                return answer
            answers.append(f"answered {answer.status}: {answer.quoted(self._secrets)}")
        raise SilenceFailedError("; ".join(answers))


def as_regex(pattern: str) -> str:
    r"""Return a pattern of ours as a regular expression of Alertmanager, which holds it against the whole value.

    Example:
        >>> as_regex("rack-7.*-?"), as_regex("disk[!ab]"), as_regex("odd[name")
        ('rack-7\\..*-.', 'disk[^ab]', 'odd\\[name')
    """
    parts, place = [], 0
    while place < len(pattern):
        letter = pattern[place]
        end = pattern.find("]", place + 3 if pattern.startswith("[!", place) else place + 2)
        if letter == "[" and end > 0:
            inside = pattern[place + 1 : end]
            negated = inside.startswith("!")
            listed = inside.removeprefix("!").replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]")
            parts.append(f"[{'^' if negated else ''}{listed.replace('^', chr(92) + '^')}]")
            place = end
        else:
            parts.append({"*": ".*", "?": "."}.get(letter) or _SPECIAL.sub(r"\\\1", letter))
        place += 1
    return "".join(parts)


def _silence(found: Mapping[str, Any]) -> ForeignSilence:
    signs = {(True, False): "=", (True, True): "=~", (False, False): "!=", (False, True): "!~"}
    matchers = tuple(
        f"{one.get('name')}{signs[bool(one.get('isEqual', True)), bool(one.get('isRegex'))]}"
        f"{json.dumps(str(one.get('value')), ensure_ascii=False)}"
        for one in found.get("matchers") or ()
        if isinstance(one, dict)
    )
    status = found.get("status")
    state = status.get("state") if isinstance(status, dict) else ""
    texts = [str(found.get(name, "")) for name in ("id", "endsAt", "createdBy", "comment")]
    return ForeignSilence(texts[0], str(state), matchers, *texts[1:])


def _read(answer: Answer) -> Any:
    """Return the JSON of an answer; None where it is none."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
