"""What `streamae alert resolve` does: order that alerts of retired detectors or keys end.

Must not know who obeys.
"""

from __future__ import annotations

import time

from streamae.alerting.order_topic import give_order
from streamae.alerting.orders import Resolution
from streamae.commands.invocation import Invocation
from streamae.commands.operator import new_id, shown_labels, who
from streamae.errors import ExitCode


def main(invocation: Invocation) -> int:
    """Do what `streamae alert resolve` was asked for."""
    options = invocation.options
    settings = invocation.load(awaits_bundle=True).settings
    asked = {"detector": options.detector, "key": options.key}
    labels = {name: pattern for name, pattern in asked.items() if pattern is not None}
    order = Resolution(new_id(), labels, time.time_ns() // 1_000_000, who(options.who), options.why)
    give_order(settings.kafka, settings.alerts.orders_topic, order)
    print(
        f"order {order.id}: what is open now of {shown_labels(labels)} ends as `operator`, by {order.who}; "
        "what opens later is told"
    )
    return ExitCode.OK
