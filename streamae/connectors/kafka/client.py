"""What source and sink share: arguments of the connection, and our names for the client's errors.

Must not know: consumers or producers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kafka.errors import (
    FencedInstanceIdError,
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    KafkaConfigurationError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFencedError,
    TransactionalIdAuthorizationFailedError,
    UnsupportedVersionError,
)
from kafka.net.compat import KafkaNetClient

from streamae.errors import ConfigError, FatalError, RetryableError
from streamae.settings.connections import KafkaSettings

CLOSE_TIMEOUT_MS = 5_000
NO_TRANSACTIONS = {  # by the client's name of the error, which it may hand on inside of another one
    "TransactionalIdAuthorizationFailedError": "grant our user WRITE and DESCRIBE on transactional id {id},"
    " or on all with the prefix of the group",
    "ClusterAuthorizationFailedError": "grant our user IDEMPOTENT_WRITE on the cluster",
    "IncompatibleBrokerVersion": "the brokers are too old for transactions: version 2.5 or later is needed",
    "InvalidTransactionTimeoutError": "kafka.transaction_timeout_ms is above the brokers' transaction.max.timeout.ms",
}
REMEDIES = {
    GroupAuthorizationFailedError: "grant our user READ on this group",
    InconsistentGroupProtocolError: "the group has members with another kafka.assignor: stop all of them, then start"
    " all with the same one",
}
INIT_TRANSACTIONS = "init_transactions"
AT_LEAST_ONCE = "; or accept repeated events with output.delivery = at_least_once"
FATAL = (FencedInstanceIdError, ProducerFencedError, TransactionalIdAuthorizationFailedError, UnsupportedVersionError)


def client_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """Return what consumer and producer have in common, as arguments of the client library."""
    password = settings.sasl_password
    return {
        "bootstrap_servers": [server.strip() for server in settings.bootstrap_servers.split(",")],
        "bootstrap_timeout_ms": settings.request_timeout_ms,
        "security_protocol": settings.security_protocol,
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": None if password is None else password.get_secret_value(),
        "ssl_cafile": _text(settings.ssl_ca_file),
        "ssl_certfile": _text(settings.ssl_cert_file),
        "ssl_keyfile": _text(settings.ssl_key_file),
        "request_timeout_ms": settings.request_timeout_ms,
        "retry_backoff_ms": settings.retry_backoff_ms,
        "reconnect_backoff_max_ms": 1_000,
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


@contextmanager
def client_errors(what: str) -> Iterator[None]:
    """Turn the client's errors into ours.

    Raises:
        ConfigError: the client refuses its settings.
        FatalError: fenced, or the cluster cannot do what is needed.
        RetryableError: everything else.
    """
    try:
        yield
    except KafkaConfigurationError as error:
        raise ConfigError([f"kafka: {error}"]) from error
    except FATAL as error:
        raise FatalError(f"{what}: {error}") from error
    except (KafkaError, OSError) as error:
        remedies = [text for kind, text in REMEDIES.items() if isinstance(error, kind)]
        raise RetryableError("; ".join([f"{what}: {error}", *remedies])) from error


@contextmanager
def transaction_errors(transactional_id: str) -> Iterator[None]:
    """Turn what the cluster says when it has no transactions for us into a refusal to start, with the ways out.

    Raises:
        ConfigError: transactions are not supported, not allowed to us, or not for as long as asked for.
        FatalError, RetryableError: anything else, as it came.
    """
    try:
        yield
    except (FatalError, RetryableError) as error:
        reasons = [remedy for name, remedy in NO_TRANSACTIONS.items() if name in str(error)]
        if reasons:
            remedy = reasons[0].format(id=transactional_id)
            raise ConfigError(
                [f"output.delivery: exactly_once is not possible: {remedy}{AT_LEAST_ONCE} ({error})"]
            ) from error
        if isinstance(error.__cause__, KafkaTimeoutError) and str(error).startswith(INIT_TRANSACTIONS):
            raise RetryableError(
                f"no transaction coordinator for {transactional_id}: if this lasts, look whether topic"
                f" __transaction_state can have its replicas{AT_LEAST_ONCE} ({error})"
            ) from error
        raise


@contextmanager
def client_opening(what: str) -> Iterator[Callable[..., Any]]:
    """Give a consumer's or producer's constructor its network client; close that again if the constructor fails.

    By itself a constructor that finds no broker leaves sockets and a thread behind, at every try. And it does not
    hand on whether topics may be created that are only asked about (H15).

    Raises:
        ConfigError, FatalError, RetryableError: as `client_errors`.
    """
    opened: list[Any] = []

    def open_client(**configs: Any) -> Any:
        opened.append(KafkaNetClient(**configs))
        opened[-1].cluster.config["allow_auto_create_topics"] = configs["allow_auto_create_topics"]
        return opened[-1]

    with client_errors(what):
        try:
            yield open_client
        except BaseException:
            for client in opened:
                client.close()
            raise
