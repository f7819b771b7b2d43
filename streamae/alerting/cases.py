"""All episodes of one desk, and which of them wait, speak, are withheld, are to be saved, are over.

Must not know: routes, silences, or what is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from streamae.alerting.case import Case, Line
from streamae.alerting.offsets import Places
from streamae.alerting.told import Told

SUPERSEDED = "superseded"


class Cases:
    """The cases by episode; whoever changes one calls `note`.

    Attributes:
        waiting: episodes with news, the oldest first.
        withheld: open episodes that a silence keeps from being told.
        ended: episodes that were told as over and have not been put aside.
        is_stateless: what was told cannot be remembered now: nothing waits for that.
    """

    def __init__(self) -> None:
        self._cases: dict[str, Case] = {}
        self._lines: dict[Line, list[str]] = {}
        self._unsaved: dict[str, None] = {}
        self._ended_ms: dict[str, int] = {}  # by episode, also of what began anew since
        self.waiting: dict[str, None] = {}
        self.withheld: dict[str, None] = {}
        self.ended: dict[str, None] = {}
        self.is_stateless = False

    def __getitem__(self, episode_id: str) -> Case:
        return self._cases[episode_id]

    def get(self, episode_id: str) -> Case | None:
        """Return the case of an episode."""
        return self._cases.get(episode_id)

    def adopt(self, records: Iterable[Told]) -> list[Case]:
        """Take what is remembered of episodes that are not known here, and return those that must be told as over.

        Of several open ones of a line the newest counts. Where that was told, the receiver has heard of the end of the
        others, which was not remembered any more.
        """
        fresh = [Case.of(told) for told in records if told.alert.episode_id not in self._cases]
        for case in sorted(fresh, key=lambda case: (case.told.told_ms if case.told else 0, case.episode_id)):
            self.note(case)
        to_end = []
        for line in {case.line for case in fresh}:
            in_order = sorted(self.line(line), key=lambda case: (case.start_ms, case.started_ms))
            if len(in_order) < 2:
                continue
            *others, newest = in_order
            for case in others:
                if case.is_open and not case.is_final and newest.is_announced:
                    case.drop(SUPERSEDED)
                    self.note(case)
                elif case.is_open and not case.is_final:
                    to_end.append(case)
            self._lines[line] = [case.episode_id for case in in_order]
        return to_end

    def note(self, case: Case) -> None:
        """Bring all lists up to date with a case, new or changed."""
        episode_id = case.episode_id
        self._cases[episode_id] = case
        line = self._lines.setdefault(case.line, [])
        if not case.is_over and episode_id not in line:
            line.append(episode_id)
        if not line:
            del self._lines[case.line]
        _keep(self.waiting, episode_id, is_in=bool(case.news))
        _keep(self.withheld, episode_id, is_in=case.is_withheld)
        _keep(self._unsaved, episode_id, is_in=case.is_unsaved)
        if case.told is not None and case.told.is_resolved and self._ended_ms.get(episode_id) != case.told.told_ms:
            self._ended_ms[episode_id] = case.told.told_ms
            self.ended[episode_id] = None

    def line(self, line: Line) -> list[Case]:
        """Return the unfinished cases of a line in the order in which they speak, and those whose end is not saved."""
        return [self._cases[episode_id] for episode_id in self._lines.get(line, ())]

    def open(self) -> Iterator[Case]:
        """Yield all unfinished cases."""
        for line in list(self._lines):
            yield from (case for case in self.line(line) if not case.is_over)

    def may_speak(self, case: Case) -> bool:
        """Tell whether nothing before it in its line is unfinished, and all that was told there is remembered.

        Else a crash could bring a second end of the first after the beginning of the next, which has the same
        identity, or a second beginning of one that has ended.
        """
        for other in self.line(case.line):
            if other.is_unsaved and not self.is_stateless:
                return False
            if other is case:
                return True
            if not other.is_over:
                return False
        return False

    def is_first(self, case: Case) -> bool:
        """Tell whether nothing before it in its line is unfinished."""
        return next((other for other in self.line(case.line) if not other.is_over), None) is case

    def unsaved(self) -> list[Told]:
        """Return the records that are newer than what is remembered."""
        return [case.told for case in map(self.__getitem__, self._unsaved) if case.told is not None]

    def records(self) -> list[Told]:
        """Return all records."""
        return [case.told for case in self._cases.values() if case.told is not None]

    def saved(self, records: Iterable[Told]) -> Iterator[Places]:
        """Take these as remembered, and yield the places that are settled by it."""
        for told in records:
            case = self._cases.get(told.alert.episode_id)
            if case is None or case.told is not told:
                continue  # something newer is to be saved
            case.is_unsaved = False
            self._unsaved.pop(case.episode_id, None)
            yield from case.told_places
            case.told_places.clear()
            self.leave(case)

    def forget(self, before_ms: int) -> list[str]:
        """Drop what ended by `before_ms` and is remembered as such, and return which episodes these are."""
        old = (self._cases[episode_id] for episode_id, ended_ms in self._ended_ms.items() if ended_ms <= before_ms)
        gone = [case for case in old if case.is_over and not case.is_unsaved]
        for case in gone:
            self.drop(case)
        return [case.episode_id for case in gone]

    def drop(self, case: Case) -> None:
        """Know nothing more of a case that is over."""
        self.leave(case)
        del self._cases[case.episode_id]
        self.ended.pop(case.episode_id, None)
        self._ended_ms.pop(case.episode_id, None)
        self._unsaved.pop(case.episode_id, None)

    def leave(self, case: Case) -> None:
        """Let the next one of its line speak, if it is over."""
        line = self._lines.get(case.line, [])
        if case.is_over and case.episode_id in line:
            line.remove(case.episode_id)
            if not line:
                del self._lines[case.line]


def _keep(members: dict[str, None], episode_id: str, *, is_in: bool) -> None:
    """Have an episode among `members` or not; its place among them stays."""
    if is_in:
        members.setdefault(episode_id, None)
    else:
        members.pop(episode_id, None)
