"""A real mail server on a loopback port that keeps what it is sent, and refuses for a while where a test says so."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Self

from aiosmtpd.controller import Controller

from scripts.services.process import free_port


class MailServer:
    """Takes mail for everybody.

    Attributes:
        mails: in the order in which they came.
        recipients: of each.
        refuses: how many more are refused for now.
    """

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refuses = 0
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._controller.stop()

    @property
    def address(self) -> str:
        """What Apprise calls it."""
        return f"mailto://127.0.0.1:{self.port}/ops@example.org?from=alerts@example.org&mode=insecure"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - as aiosmtpd wants it
        """Keep a mail, or refuse it."""
        if self.refuses:
            self.refuses -= 1
            return "451 later"
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients.append(envelope.rcpt_tos)
        return "250 ok"
