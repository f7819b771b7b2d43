"""From episodes on the output topic to people: who is told what of them, once, and what is taken back.

    change -> routes (who) -> desk (what is new to them) -> batches -> receiver -> told (what they know)

Everything here goes by wall clock and is driven from outside: only `courier` and `alerter` read a clock, and only the
receivers speak to the world. Must not know: how episodes come about.
"""
