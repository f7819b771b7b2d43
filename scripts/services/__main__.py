"""`python -m scripts.services`: start Kafka and Redis, print their addresses, stop both on Ctrl-C."""

from __future__ import annotations

import signal
import sys

from scripts.services import KafkaBroker, RedisServer, ServiceUnavailableError


def main() -> int:
    """Run both services until SIGINT or SIGTERM; return the exit code."""
    signals = {signal.SIGINT, signal.SIGTERM}
    try:
        with KafkaBroker() as broker, RedisServer(is_durable=True) as server:
            signal.pthread_sigmask(signal.SIG_BLOCK, signals)
            print(f"STREAMAE_KAFKA__BOOTSTRAP_SERVERS={broker.bootstrap_servers}")
            print(f"STREAMAE_STATE__REDIS_URL={server.url}", flush=True)
            signal.sigwait(signals)
    except ServiceUnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
