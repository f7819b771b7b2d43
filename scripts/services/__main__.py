"""`python -m scripts.services`: start Kafka and Redis, print their addresses, stop both on Ctrl-C.

They listen where streamae looks for them by default, or, where that port is taken, on another one.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from scripts.services import KafkaBroker, RedisServer, ServiceUnavailableError
from scripts.services.process import free_port, is_free

KAFKA_PORT, REDIS_PORT = 9092, 6379  # as in the defaults of streamae's settings
SIGNALS = {signal.SIGINT, signal.SIGTERM}
INTERRUPTED = 130


def choose_port(service: str, asked: int | None, usual: int) -> int:
    """Return the port to listen on: the one asked for (0 = any free), else the usual one or, if taken, another.

    Raises:
        ServiceUnavailableError: the port asked for is taken.
    """
    port = usual if asked is None else asked
    if port == 0:
        return free_port()
    if is_free(port):
        return port
    option = f"--{service.lower()}-port"
    if asked is not None:
        raise ServiceUnavailableError(f"port {port} is taken: give {service} another one with {option} (0 = any free)")
    other = free_port()
    print(f"port {port} is taken: {service} listens on {other} instead; set the variable below", file=sys.stderr)
    return other


def main(argv: Sequence[str] | None = None) -> int:
    """Run both services until SIGINT or SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.services", description="Start a local Kafka and Redis until Ctrl-C; their data goes."
    )
    for service, usual in (("kafka", KAFKA_PORT), ("redis", REDIS_PORT)):
        default = f"{usual}, or another where that is taken"
        parser.add_argument(f"--{service}-port", type=int, metavar="PORT", help=f"0 = any free (default: {default})")
    options = parser.parse_args(argv)
    try:
        kafka_port = choose_port("Kafka", options.kafka_port, KAFKA_PORT)
        redis_port = choose_port("Redis", options.redis_port, REDIS_PORT)
        print("starting Kafka and Redis (the very first time, Maven fetches Kafka)", file=sys.stderr)
        with KafkaBroker(port=kafka_port) as broker, RedisServer(is_durable=True, port=redis_port) as server:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            print(f"STREAMAE_KAFKA__BOOTSTRAP_SERVERS={broker.bootstrap_servers}")
            print(f"STREAMAE_STATE__REDIS_URL={server.url}", flush=True)
            print("both are up; Ctrl-C ends them and deletes their data", file=sys.stderr)
            signal.sigwait(SIGNALS)
    except ServiceUnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
