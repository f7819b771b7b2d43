"""Asks the state store now and then whether it is set up to keep what it is given, and says what to do.

Only warns: what was really lost is found by the checkpoint protocol. This module must not know a client library.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from streamae.connectors.protocols import StateStore
from streamae.connectors.store_health import Inspectable
from streamae.errors import RetryableError
from streamae.observe.listener import Announcer
from streamae.observe.logs import get_logger
from streamae.reasons import Problem

INTERVAL_S = 15.0


class StoreWatch(Announcer):
    """Looks at one store. Called by the engine's thread only.

    Args:
        store: asked only if it is `Inspectable`.
        clock: monotonic seconds.
    """

    def __init__(self, store: StateStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._looked_s = -INTERVAL_S
        self._known: frozenset[Problem] = frozenset()
        self._log = get_logger()

    def __call__(self) -> None:
        """Look, unless that was a moment ago; log each problem once while it lasts, and its end.

        A store that does not answer is somebody else's news.

        Raises:
            ConfigError: whatever answers is no such store.
        """
        now_s = self._clock()
        if now_s - self._looked_s < INTERVAL_S or not isinstance(self._store, Inspectable):
            return
        self._looked_s = now_s
        try:
            found = self._store.problems()
        except RetryableError:
            return
        for problem in found.keys() - self._known:
            self._log.warning("store_problem", problem=str(problem), remedy=found[problem])
        for problem in self._known - found.keys():
            self._log.info("store_problem_gone", problem=str(problem))
        self._known = frozenset(found)
        self.listener.store_problems(self._known)
