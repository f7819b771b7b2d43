"""Model check of "commit, then checkpoint": one partition, a few workers, every fault, random schedules.

`world` is what outlives a process (log, group, transactions), `worker` is the engine's order of steps on the real
recovery plan, progress, outbox and store, `protocols` holds the variants that must fail, `schedules` plays them.
"""
