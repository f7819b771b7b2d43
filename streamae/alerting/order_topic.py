"""The topic of orders: given there by a command, read whole by every process that tells people of anomalies.

Must not know: what orders mean.
"""

from __future__ import annotations

from contextlib import closing

from streamae.alerting.orders import Order, OrderBook, Orders, tell, write_order
from streamae.batches import Cause, Partition
from streamae.connectors.kafka import AtLeastOnceSink, TopicTail
from streamae.connectors.protocols import Message
from streamae.observe.logs import get_logger
from streamae.settings.connections import KafkaSettings

BY_COMMAND = Cause(Partition("", 0), 0)  # no record has caused an order


def read_orders(settings: KafkaSettings, topic: str, max_silence_ms: int) -> OrderBook:
    """Return all orders as they are now.

    Raises:
        DataError: there is no such topic, or it may not be read.
        ConfigError, RetryableError: the cluster cannot be reached.
    """
    book = OrderBook(max_silence_ms)
    with TopicTail(topic, settings) as tail:
        book.take(tail.so_far())
    return book


def give_order(settings: KafkaSettings, topic: str, order: Order) -> None:
    """Write an order; it is there for good when this returns.

    Raises:
        ConfigError, FatalError, RetryableError: it may not be there.
    """
    key, value = write_order(order)
    with closing(AtLeastOnceSink(settings)) as sink, sink.transaction() as transaction:
        transaction.send([Message(topic, key, value, (), BY_COMMAND)])


class OrderFollower:
    """Orders for a process that runs: read whole at first, then followed. Not for several threads.

    Args:
        settings: how to reach the cluster.
        topic: of orders.
        max_silence_ms: as `OrderBook`.
    """

    def __init__(self, settings: KafkaSettings, topic: str, max_silence_ms: int) -> None:
        self._settings, self._topic, self._max_silence_ms = settings, topic, max_silence_ms
        self._book = OrderBook(max_silence_ms)
        self._tail: TopicTail | None = None
        self._has_read = False

    def step(self, timeout_ms: int = 0) -> int:
        """Take in what is new, each order with a line in the log; return how many orders have changed.

        The first reading is one line. After an error the topic is read whole again by the next call; until then orders stay as they were.

        Args:
            timeout_ms: wait at most so long for news.

        Raises:
            DataError, ConfigError, RetryableError: as `read_orders`.
        """
        try:
            if self._tail is None:
                return self._read_whole()
            changed = self._book.take(self._tail.newer(timeout_ms))
        except BaseException:
            self.close()
            raise
        for order in changed:
            tell(order)
        return len(changed)

    def orders(self, now_ms: int) -> Orders:
        """Return what means something at `now_ms`, wall clock."""
        return self._book.orders(now_ms)

    def close(self) -> None:
        """Release connections; idempotent, and `step` may be called again."""
        tail, self._tail = self._tail, None
        if tail is not None:
            tail.close()

    def _read_whole(self) -> int:
        self._tail = TopicTail(self._topic, self._settings)
        book = OrderBook(self._max_silence_ms)
        book.take(self._tail.so_far())
        changed = book.since(self._book)
        if self._has_read:
            for order in changed:
                tell(order)
        else:
            get_logger().info("orders_read", topic=self._topic, orders=len(changed))
        self._book, self._has_read = book, True
        return len(changed)
