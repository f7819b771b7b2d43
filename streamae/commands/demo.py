"""`streamae demo`: train on generated streams and watch the real engine find what was hidden in them."""

from __future__ import annotations

from streamae.commands.invocation import Invocation


def main(invocation: Invocation) -> int:
    """Do what `streamae demo` was asked for."""
    of = invocation.options
    if of.stream == "transactions":
        from streamae.demo import transaction_demo

        return transaction_demo.main(of.out, of.keys, of.seed)
    from streamae.demo import sensor_demo

    return sensor_demo.main(of.out, of.keys, of.seed)
