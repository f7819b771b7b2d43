"""What a web service answered, and what follows from it for the alert. Must not know: how it was asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from streamae.alerting.receiver import Delivered, Outcome, Refused, Retry
from streamae.alerting.texts import one_line
from streamae.errors import RetryableError, StreamaeError

ASKS_TO_WAIT = frozenset({408, 425, 429})
MOST_QUOTED = 200


class UnreachableError(RetryableError):
    """No whole answer: nobody there, too slow, not HTTP, a certificate that is not trusted. No secret in its message.

    Attributes:
        may_have_arrived: sending had begun; False = nobody has read any of it.
    """

    def __init__(self, why: str, *, may_have_arrived: bool = False) -> None:
        super().__init__(why)
        self.may_have_arrived = may_have_arrived


class ForbiddenAddressError(StreamaeError):
    """The host is, or leads to, an address that is never asked. No secret in its message."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        status: HTTP status.
        headers: by name in lower case; of several of one name the last.
        body: its first bytes, as many as were asked for.
        is_whole: `body` is all of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool = True

    def quoted(self, secrets: Iterable[str] = ()) -> str:
        """Return the start of the body as one line, without `secrets`, for the person who reads of a refusal."""
        text = self.body.decode(errors="replace")
        for secret in secrets:
            text = text.replace(secret, "***") if secret else text
        return one_line(text, MOST_QUOTED)


def outcome_of(answer: Answer, now_ms: int, secrets: Iterable[str] = ()) -> Outcome:
    """Return what came of an alert that was answered so.

    A 5xx may come from a proxy that has lost the answer of whoever took it.

    Args:
        answer: of the service.
        now_ms: wall clock, against which a date in `Retry-After` is taken.
        secrets: not to be repeated, also where the answer does.
    """
    status = answer.status
    if status in range(200, 300):
        return Delivered()
    if status in ASKS_TO_WAIT or status >= 500:
        after_ms = retry_after_ms(answer.headers.get("retry-after"), now_ms)
        return Retry(f"answered {status}", after_ms, may_have_arrived=status >= 500)
    if status in range(300, 400):
        return Refused(f"answered {status}: redirects are not followed, set the address that it leads to")
    quote = answer.quoted(secrets)
    return Refused(f"answered {status}: {quote}" if quote else f"answered {status}")


def retry_after_ms(text: str | None, now_ms: int) -> int | None:
    """Return how long `Retry-After` asks for; None where it says nothing that can be read.

    Example:
        >>> retry_after_ms("120", 0), retry_after_ms("Thu, 01 Jan 1970 00:00:30 GMT", 10_000), retry_after_ms("soon", 0)
        (120000, 20000, None)
    """
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdecimal():
        wait_ms = int(text[:12]) * 1_000
    else:
        try:
            wait_ms = int(parsedate_to_datetime(text).timestamp() * 1_000) - now_ms
        except (ValueError, OverflowError):
            return None
    return max(wait_ms, 0)
