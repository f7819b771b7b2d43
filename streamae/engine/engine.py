"""The whole way of the data: records in, windows, errors, scores, verdicts, episodes, events out.

`Engine.step` is one turn of the loop, `Engine.commit` is what makes it last; the comments there say what a crash
after each line loses. Everything between commits lives in memory only and is recomputed after a crash, from the
committed offset, on the state of the last checkpoint. The engine knows protocols, never a client library.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from streamae.batches import Floats, Partition, RawRecord, Rejected, ScoreBatch, VerdictBatch, WindowBatch
from streamae.connectors.dead_letters import dead_letter
from streamae.connectors.protocols import Finite, Poll, Source
from streamae.core.batching import Batch
from streamae.core.episodes import opening_times
from streamae.core.key_levels import in_own_units, standardised
from streamae.core.scoring import score
from streamae.core.windowing import select
from streamae.engine import standing
from streamae.engine.checkpoint import Checkpointer
from streamae.engine.intake import Intake
from streamae.engine.key_states import KeyStates
from streamae.engine.last_rows import with_last_rows
from streamae.engine.partition_clocks import PartitionClocks
from streamae.engine.partitions import Partitions
from streamae.engine.publisher import Publisher
from streamae.engine.record_ids import with_ids
from streamae.engine.recovery import Recovery
from streamae.engine.silence_watch import SilenceWatch
from streamae.engine.stages import EngineOptions, Observer, Stages, Tuning
from streamae.engine.starved_keys import tell_starved
from streamae.engine.status import EngineStatus
from streamae.engine.store_waits import StoreWaits
from streamae.engine.stream_watch import StreamWatch
from streamae.engine.time_marks import changes_of, queue, rests_of
from streamae.engine.unscored import why_unscored
from streamae.episode_changes import EpisodeChange
from streamae.errors import RetryableError
from streamae.fail_points import fail_point
from streamae.observe.listener import Announcer, Listener
from streamae.observe.logs import get_logger, shown
from streamae.reasons import Reason


@dataclass(frozen=True, slots=True)
class Persistence:
    """What survives this process, and where it stands: key state, progress of each partition, take-overs, checkpoints."""

    states: KeyStates
    partitions: Partitions
    recovery: Recovery
    checkpointer: Checkpointer
    clocks: PartitionClocks | None = None  # None: nothing asks for the time of a partition
    silence: SilenceWatch | None = None  # None: nothing follows from silence


class Engine(Announcer):
    """One process's share of the stream. Single-threaded; time is an argument."""

    def __init__(
        self,
        source: Source,
        stages: Stages,
        persistence: Persistence,
        publisher: Publisher,
        options: EngineOptions,
        watch: StreamWatch,
        *,
        observer: Observer | None = None,
        on_report: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Join the parts; `assembly.build.build_engine` does it from settings.

        Args:
            source: where records come from.
            stages: the stages of the data.
            persistence: key state and where each partition stands.
            publisher: what makes outputs and offsets visible.
            options: see there.
            watch: tells when most of the stream comes to nothing.
            observer: called with every scored batch, for pictures and backtests.
            on_report: called by `report`, for what else is to be looked at every few seconds.
            clock: seconds, for durations only.
        """
        self.source, self.publisher, self.stages, self.options = source, publisher, stages, options
        self.states, self.partitions = persistence.states, persistence.partitions
        self.recovery, self.checkpointer = persistence.recovery, persistence.checkpointer
        self.outbox, self.store_waits = publisher.outbox, StoreWaits(source)
        self.silence = self.recovery.silence = self.checkpointer.silence = persistence.silence
        waits, clocks = self.store_waits, persistence.clocks
        self.intake = Intake(self.states, self.partitions, waits, clocks, self.silence, stages.batcher)
        self.observer, self.clock, self._on_report = observer, clock, on_report
        self.watch, self._scored = watch, 0  # windows so far
        self._commit_started_ms: int | None = None
        self._standings: list[dict[str, Any]] | None = None  # of keys, at the last report
        self._held: set[Partition] = set()  # partitions that the source was told to pause
        self._log = get_logger()

    def attach(self, listener: Listener) -> None:
        """Tell `listener` what the engine and its parts do."""
        super().attach(listener)
        for part in (self.intake, self.publisher, self.states, self.recovery, self.checkpointer, self.watch):
            part.attach(listener)

    def step(self, now_ms: int) -> None:
        """Take one turn: poll, decode, window, score, decide; commit when it is time.

        Args:
            now_ms: monotonic milliseconds.

        Raises:
            RetryableError: a service did not answer; call again after a pause, nothing was lost.
            FatalError: end the process.
        """
        started = self.clock()
        if self.publisher.is_due():
            self.publisher.settle()  # how the last transaction ended, so that a failure is acted on at once
        self._regulate(now_ms)
        poll = self.source.poll(0 if self._is_behind() else self.options.poll_timeout_ms)
        fail_point("after_poll")
        polled = self._follow(poll, now_ms)
        records, rejected = self.stages.reading.decode(polled)
        taken = self.intake.take(records, polled, now_ms)
        if taken.lost:
            self._recover_lost(taken.lost, now_ms)
        records, slots, refused = taken.records, taken.slots, taken.refused
        # From here on key state changes, in memory only.
        windows, rows, strays = self.stages.windows_of(
            records, slots, taken.restarts, rests_of(taken.marks, records, slots)
        )
        windows, rows = with_last_rows(windows, rows, self.stages, self.states.table, self.source, polled)
        queue(self.stages.batcher, with_ids(windows, records, slots), taken.marks, self.states.table, now_ms)
        self.watch.saw(records, slots, rows, strays, rejected + refused)
        strayed = [records.refused(*each) for each in zip(strays.indices, strays.reasons, strict=True)]
        self._send_away(rejected + refused + strayed, polled)
        self._advance(polled)
        for batch in self.stages.batcher.ready(now_ms):
            self._score(batch)
            if self.clock() - started > self.options.step_budget_s:
                break  # the rest waits, so that the group hears of us in time
        if self._is_commit_due(now_ms) and not self._is_behind():
            self.commit(now_ms)
        self.listener.stepped(self.clock() - started)

    def commit(self, now_ms: int) -> None:
        """Publish what was decided together with the offsets it came from; then save key state, if it is time.

        This starts transaction N of events, scores, dead letters and offsets, and waits for its end only where a
        checkpoint is due: it may end during later steps. So P, the one before, may still be open here. Names in
        backquotes are fail points, the rows of the crash table in docs/guarantees.md.

        Raises:
            RetryableError: P or N was not committed, or nobody knows yet whether it was. What it holds is kept, and
                sent again by a later step unless it turns out to be committed. A store that fails raises nothing:
                N is committed by then, and its state is saved later.
            FatalError: the device failed, or another process goes by our name; a crash as any other.
        """
        # Up to the start of N (`after_poll`): what it will hold is in memory only, and read again. P: as N below.
        for batch in self.stages.batcher.flush():
            self._score(batch)
        # One transaction at a time keeps the order. Until it is settled, a crash leaves all of P or none.
        self.publisher.settle()
        # N from here on, beside what follows: `before_begin` not begun. `after_send`, `after_flush`,
        # `after_send_offsets`: open, will be aborted. `in_commit`: all or none, the group's offsets say which.
        # `after_commit`: visible, stored state is older: the next owner replays silently.
        self.publisher.start()
        self._commit_started_ms = now_ms
        if self.checkpointer.is_due(now_ms):
            # A checkpoint needs N committed: then state in memory is exactly that of the committed offsets.
            self.publisher.settle()
            # `in_checkpoint`, `after_checkpoint`: a partition's old state is stored or its new one, never a mixture.
            lost = self.checkpointer.save(now_ms)
            # Partitions with another owner, or whose data the store lost. A crash in here: the next owner plans anew.
            self._recover_lost(lost, now_ms)

    def drain(self, now_ms: int) -> None:
        """Commit and save everything decided so far; read nothing more."""
        self.commit(now_ms)
        self.publisher.settle()
        self.checkpointer.save(now_ms)

    def close(self) -> None:
        """Leave the group and release all connections. Commits nothing."""
        self.source.close()
        self.publisher.sink.close()
        self.states.store.close()

    def status(self) -> EngineStatus:
        """Return what readiness and the log need; cheap."""
        since = (self.checkpointer.failing_since_ms, self.recovery.failing_since_ms, self.store_waits.failing_since_ms)
        failing = [when_ms for when_ms in since if when_ms is not None]
        finished = self._is_finished()
        return EngineStatus(
            partitions=len(self.partitions),
            replaying=self.partitions.replaying(),
            recovering=len(self.recovery.waiting),
            halted=len(self.recovery.halted),
            joined=self._is_member(),
            keys=len(self.states.table),
            key_states=self._standings,
            waiting_windows=len(self.stages.batcher),
            waiting_messages=len(self.outbox),
            store_failing_since_ms=min(failing, default=None),
            commit_blocked=self.publisher.is_blocked,
            finished=finished,
            unscored="" if self._scored or not finished else why_unscored(self.watch, self.stages, self.states),
            warnings=self.watch.warnings,
            stream=self.watch.summary,
        )

    def report(self) -> None:
        """Refresh the gauges that cost something to compute."""
        self.listener.lag(self.source.lag())
        found = standing.standings(self.stages, self.states)
        self.listener.keys(standing.by_state(found))
        self._standings = standing.plain(found)
        tell_starved(self.stages, self.states.table)
        if self._is_finished():
            self.watch.describe()
        self.watch.report()
        self.listener.episode_rate(self.stages.rate.per_week())
        self.listener.silences(*(self.silence.count() if self.silence else (0, 0)))
        halted, is_blocked = len(self.recovery.halted), self.publisher.is_blocked
        loading = len(self.recovery.waiting) - halted
        self.listener.partitions(
            standing.partition_states(self.partitions, loading, halted, self.store_waits, is_blocked)
        )
        self.listener.committed({partition: progress.committed for partition, progress in self.partitions.items()})
        if self._on_report is not None:
            self._on_report()

    def _is_finished(self) -> bool:
        return isinstance(self.source, Finite) and self.source.is_finished

    def _is_member(self) -> bool:
        try:
            self.source.membership()
        except RetryableError:
            return False
        return True

    def _score(self, batch: Batch) -> None:
        """Errors, scores and verdicts of all windows; then episodes, and what time brings to keys between windows."""
        windows = batch.windows
        if windows is not None:
            started = self.clock()
            errors = self.stages.runner.run(standardised(windows))  # the only line that touches a device
            self.listener.scored(len(windows), self.clock() - started)
            self._scored += len(windows)
            scores = score(in_own_units(errors, windows), self.stages.calibration)
            verdicts = self._judge(windows, scores, errors.latent)
        for chosen, marks in batch.phases():
            if windows is not None and chosen.start < chosen.stop:
                self._advance_episodes(verdicts.take(chosen), scores.take(chosen), select(windows, chosen))
            for mark, key in marks:
                for change in changes_of(mark, key, self.stages):
                    self._tell(change, key.key, mark.partition)
                if key.is_forgotten and key.slot >= 0:
                    self.states.table.free(key.slot)

    def _judge(self, batch: WindowBatch, scores: ScoreBatch, latent: Floats | None) -> VerdictBatch:
        """The only place where a window is judged; nothing that time brings to a key changes what it has learnt."""
        verdicts = self.stages.decision.judge(scores, batch)
        if self.observer is not None:
            self.observer(batch, scores, verdicts)
        if self.stages.scores is not None:
            table = self.states.table
            keys, owners = zip(*((table.keys[slot], table.owners[slot]) for slot in batch.slots), strict=True)
            self.outbox.add(self.stages.scores.messages(verdicts, batch, keys, owners, latent))
        return verdicts

    def _advance_episodes(self, verdicts: VerdictBatch, scores: ScoreBatch, batch: WindowBatch) -> None:
        stages, table = self.stages, self.states.table
        changes = stages.episodes.advance(verdicts, scores, batch)
        stages.rate.add(batch.end_times_ms, opening_times(changes))
        if stages.last is not None:
            stages.last.note(verdicts, batch)
        for change in changes:
            owner = table.owners[change.slot]
            assert owner is not None  # windows of released slots were dropped from the batcher
            self._tell(change, table.keys[change.slot], owner)

    def _tell(self, change: EpisodeChange, key: bytes, owner: Partition) -> None:
        if self.outbox.add([self.stages.events.message(change, key, owner)]):
            self.listener.episode(change.kind)
            what = "episode" if change.silence is None else "silence"
            self._log.info(f"{what}_{change.kind}", key=shown(key), severity=round(change.severity))

    def _regulate(self, now_ms: int) -> None:
        """Hold back partitions: all while a commit is outstanding or windows pile up, else those that wait for the store.

        Ownership is followed all the same.
        """
        everything = self.publisher.is_blocked or self._is_behind()
        held = {at for at, _ in self.partitions.items()} if everything else self.store_waits.waiting(now_ms)
        self.source.pause(sorted(held))  # also those already held: one that came back is no longer paused
        self.source.resume(sorted(self._held - held))
        self._held = held

    def _is_behind(self) -> bool:
        """Tell whether more windows wait than one more step may be given: the model is slower than the stream."""
        return len(self.stages.batcher) > self.stages.batcher.max_size

    def _follow(self, poll: Poll, now_ms: int) -> dict[Partition, Sequence[RawRecord]]:
        """Give up what was taken away, take over what was assigned; return the records of all others.

        Records of a partition that only now begins were polled from where it stood before: they are read again.
        """
        for partition in poll.revoked:
            self._forget(partition)
            self.recovery.abandon(partition)
        running = {partition for partition, _ in self.partitions.items()}
        if poll.revoked or poll.assigned:
            self.listener.rebalance("revoked", len(poll.revoked))
            self.listener.rebalance("assigned", len(poll.assigned))
            self._log.info("rebalanced", revoked=_names(poll.revoked), assigned=_names(poll.assigned))
        self._recover(poll.assigned, now_ms)
        return {partition: found for partition, found in poll.records.items() if partition in running}

    def _recover(self, partitions: Sequence[Partition], now_ms: int) -> None:
        """(Re)start partitions from stored state and committed offset; those that cannot yet are tried each step."""
        for partition in partitions:
            self._forget(partition)
        self.recovery.add(partitions)
        if not self.recovery.waiting:
            return
        try:
            self.publisher.settle()  # offsets read while it runs would be taken for its outcome
        except RetryableError as error:
            self._log.warning("recovery_waits", error=str(error))
        if not self.publisher.is_blocked:
            self.recovery.start(self.partitions, now_ms)

    def _recover_lost(self, partitions: Sequence[Partition], now_ms: int) -> None:
        """Restart partitions whose stored state is not what we rely on, and never rely on that again."""
        for partition in partitions:
            self.recovery.distrust(partition, self.partitions[partition].base)
        self._recover(partitions, now_ms)

    def _forget(self, partition: Partition) -> None:
        """Drop everything about a partition that is not committed: its next owner, maybe us, does it again."""
        self.store_waits.abandon(partition)
        slots = self.states.release(partition)
        self.stages.batcher.drop(slots, partition)
        if self.silence is not None:
            self.silence.drop(partition)
        self.outbox.drop(partition)
        self.partitions.drop(partition)

    def _send_away(self, rejected: list[Rejected], polled: dict[Partition, Sequence[RawRecord]]) -> None:
        """Count unusable records; those not dropped by policy go to the dead-letter topic."""
        dropped, sent = Counter[Reason](), Counter[Reason]()
        for each in rejected:
            ours = polled.get(each.cause.partition)
            if not ours or each.cause.offset > ours[-1].offset or self.partitions.is_suppressed(each.cause):
                continue  # read again
            if each.reason in self.options.dropped:
                dropped[each.reason] += 1
            else:
                self.outbox.add([dead_letter(each, self.options.dead_letter_topic)])
                sent[each.reason] += 1
        for reason, count in dropped.items():
            self.listener.dropped(reason, count)
        for reason, count in sent.items():
            self.listener.dead_lettered(reason, count)

    def _advance(self, polled: dict[Partition, Sequence[RawRecord]]) -> None:
        """Move positions behind the polled records; everything below is in the state or on its way out."""
        for partition, found in polled.items():
            progress, replayed = self.partitions[partition], 0
            if progress.is_replaying:
                fail_point("in_shadow_replay")
                replayed = sum(record.offset < progress.replay_until for record in found)
            progress.position = found[-1].offset + 1
            if replayed:
                self.listener.replayed(replayed)
            self.listener.consumed(partition, len(found), found[-1].timestamp)

    def _is_commit_due(self, now_ms: int) -> bool:
        if self._commit_started_ms is None:
            self._commit_started_ms = now_ms
        return now_ms - self._commit_started_ms >= self.options.commit_interval_ms

    def adopt(self, tuning: Tuning) -> None:
        """Judge by `tuning` from now on; what keys have learnt stays. Only between two steps, after `drain`."""
        self.stages.adopt(tuning, self.states.table.entries())
        if self.silence is not None:
            self.silence.adopt(tuning.patience)
        self.listener.alert_budget(tuning.alert_budget_per_week)


def _names(partitions: Sequence[Partition]) -> list[str]:
    return [f"{partition.topic}-{partition.index}" for partition in partitions]
