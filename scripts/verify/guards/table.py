"""The guards: where each stands in the sources, what is left when it is gone, and the tests that must notice.

Must not know: how tests are run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SINK, SOURCE = "streamae/connectors/kafka/sink.py", "streamae/connectors/kafka/source.py"
OWNERSHIP, CLIENT = "streamae/connectors/kafka/ownership.py", "streamae/connectors/kafka/client.py"
CONSUMER = "streamae/connectors/kafka/consumer.py"
ASSIGNORS, UNOWNED = "streamae/connectors/kafka/assignors.py", "tests/connectors/kafka/test_unowned.py"
CHECKPOINT, LOAD = "streamae/connectors/checkpoint.lua", "streamae/connectors/load.lua"
RULES, ROSTER = "streamae/connectors/rules.lua", "streamae/connectors/entries.lua"
DELIVERY = "streamae/connectors/kafka/at_least_once.py"
REPEATED, RIGHTS = "tests/connectors/kafka/test_at_least_once.py", "tests/connectors/kafka/test_rights.py"
PUBLISHER = "streamae/engine/publisher.py"
RECOVERY = "streamae/engine/partitions.py"
HAZARDS, CONTRACT = "tests/connectors/kafka/test_hazards.py", "tests/connectors/test_store_contract.py"
ROSTER_CONTRACT = "tests/connectors/test_roster_contract.py"


@dataclass(frozen=True, slots=True)
class Guard:
    """One guard.

    Attributes:
        name: hazard of the Kafka client (H1 to H15), what the store checks, or which promise it keeps.
        what: is removed, in a few words.
        path: file that holds it, from the root of the repository.
        text: occurs there exactly once.
        without: takes the place of `text`.
        tests: of which at least one must fail without the guard.
    """

    name: str
    what: str
    path: str
    text: str
    without: str
    tests: tuple[str, ...]

    def removed_from(self, source: str) -> str:
        """Return the file's text without the guard.

        Raises:
            ValueError: the guard does not stand there, or more than once.
        """
        if (found := source.count(self.text)) != 1:
            raise ValueError(f"{self.name} ({self.what}): its text occurs {found} times in {self.path}")
        return source.replace(self.text, self.without)


def problems(root: Path, guards: tuple[Guard, ...]) -> list[str]:
    """Return what does not fit the sources below `root`: guards that cannot be removed, tests that are not there."""
    found = []
    for guard in guards:
        try:
            guard.removed_from((root / guard.path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            found.append(str(error))
        for test in guard.tests:
            path, _, name = test.partition("::")
            if f"def {name}(" not in (root / path).read_text(encoding="utf-8"):
                found.append(f"{guard.name} ({guard.what}): no test {test}")
    return found


def _of(path: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{path}::{name}" for name in names)


GUARDS = (
    Guard(
        "H1",
        "refusal of a proof without generation",
        SOURCE,
        "if metadata.generation_id < 0 or not metadata.member_id or metadata.state != MemberState.STABLE:",
        "if metadata.generation_id < -1:",
        _of(HAZARDS, "test_the_broker_alone_would_accept_a_proof_without_generation"),
    ),
    Guard(
        "H2",
        "confirmation of every record before the commit",
        SINK,
        "transaction.records.await_all(time.monotonic() + self._settings.request_timeout_ms / 1_000)",
        "pass",
        _of(HAZARDS, "test_a_record_that_never_arrived_is_not_left_out_of_the_commit"),
    ),
    Guard(
        "H3",
        "nothing in flight when the commit starts",
        SINK,
        "transaction.records.await_all(time.monotonic() + self._settings.request_timeout_ms / 1_000)",
        "pass",
        _of(HAZARDS, "test_a_commit_that_the_client_never_sent_is_not_called_done"),
    ),
    Guard(
        "H4",
        "listeners that wait for nothing",
        OWNERSHIP,
        "        self.forget(Partition(*partition) for partition in revoked)\n",
        "        self._consumer.commit()\n        self.forget(Partition(*partition) for partition in revoked)\n",
        _of(HAZARDS, "test_a_rebalance_waits_for_nobody"),
    ),
    Guard(
        "H5",
        "another producer after a connection was lost",
        SINK,
        'self._recycle("connection")',
        'self._recycled("connection")',
        _of(HAZARDS, "test_a_commit_that_arrives_twice_does_not_end_the_next_transaction"),
    ),
    Guard(
        "H5",
        "another producer after an abort",
        SINK,
        "            self._recycle(reason)\n",
        "            self._recycled(reason)\n",
        ("tests/connectors/test_sink_contract.py::test_offsets_of_a_failed_transaction_do_not_come_back",),
    ),
    Guard(
        "H5",
        "another producer after an unknown outcome",
        SINK,
        'self._recycle("unknown")',
        "pass",
        _of(HAZARDS, "test_a_commit_without_an_answer_ends_its_producer"),
    ),
    Guard(
        "H5",
        "another producer after standing still",
        SINK,
        'self._recycle("late")',
        "pass",
        _of(HAZARDS, "test_a_process_that_stood_still_in_a_commit_replaces_its_producer"),
    ),
    Guard(
        "H6",
        "no reset of positions by the client",
        CONSUMER,
        'auto_offset_reset="none"',
        'auto_offset_reset="latest"',
        _of(HAZARDS, "test_records_that_are_gone_are_not_skipped_in_silence"),
    ),
    Guard(
        "H6",
        "no commits by the client",
        CONSUMER,
        "enable_auto_commit=False",
        "enable_auto_commit=True",
        _of(HAZARDS, "test_reading_alone_commits_nothing"),
    ),
    Guard(
        "H7",
        "waiting for another owner's transaction",
        CONSUMER,
        'isolation_level="read_committed"',
        'isolation_level="read_uncommitted"',
        _of(HAZARDS, "test_span_waits_until_another_owners_transaction_is_decided"),
    ),
    Guard(
        "H7",
        "no error lines while waiting",
        SOURCE,
        'logging.getLogger("kafka.coordinator.consumer").addFilter(QUIET)',
        "pass",
        _of(HAZARDS, "test_span_waits_until_another_owners_transaction_is_decided"),
    ),
    Guard(
        "H8",
        "a short pause between transactional requests",
        SINK,
        'pauses["retry_backoff_ms"] = min(pauses["retry_backoff_ms"], TRANSACTION_BACKOFF_MS)',
        "del pauses",
        _of(HAZARDS, "test_transactions_in_a_row_do_not_wait_for_the_general_backoff"),
    ),
    Guard(
        "H9",
        "refusal of partitions of others",
        SOURCE,
        "        strange = set(partitions) - self.owned\n",
        "        strange = set[Partition]()\n",
        _of(HAZARDS, "test_a_current_member_cannot_commit_for_its_neighbour"),
    ),
    Guard(
        "H9",
        "no proof between a rebalance and its report",
        SOURCE,
        "if self._changes.assigned or self._changes.revoked:",
        "if False:",
        _of(HAZARDS, "test_a_proof_is_not_given_between_a_rebalance_and_its_report"),
    ),
    Guard(
        "H10",
        "a refused generation is no reason to end",
        SINK,
        'raise MembershipError(f"{what}: {error}") from error',
        'raise FatalError(f"{what}: {error}") from error',
        _of(HAZARDS, "test_a_fence_during_a_cooperative_rebalance_is_waited_out"),
    ),
    Guard(
        "H10",
        "outputs of a refused transaction are kept",
        PUBLISHER,
        "        self.outbox.failed()\n",
        "        self.outbox.delivered()\n",
        _of("tests/engine/test_publisher.py", "test_after_a_failure_old_and_new_outputs_go_out_in_order"),
    ),
    Guard(
        "H10",
        "a proof that a later join has outdated is no reason to end",
        SINK,
        "            except (CommitFailedError, FencedInstanceIdError) as error:\n",
        "            except CommitFailedError as error:\n",
        _of(HAZARDS, "test_a_proof_that_a_later_join_has_outdated_ends_nobody"),
    ),
    Guard(
        "H11",
        "a second look at what was put aside",
        SOURCE,
        "        self._make_room()\n",
        "",
        _of(
            "tests/connectors/test_source_contract.py",
            "test_a_partition_paused_half_read_goes_on_when_it_is_resumed",
        ),
    ),
    Guard(
        "H12",
        "what others had meanwhile is begun anew",
        OWNERSHIP,
        "before = self._consumer.assignment() if is_another else set()",
        "before = set()",
        _of(HAZARDS, "test_a_partition_that_others_had_meanwhile_is_begun_anew"),
    ),
    Guard(
        "H12",
        "no proof before all is noted that a join has given",
        SOURCE,
        "if self._changes.joined != (metadata.generation_id, metadata.member_id):",
        "if not self._changes.joined:",
        _of(HAZARDS, "test_a_proof_is_not_given_before_all_is_noted"),
    ),
    Guard(
        "H13",
        "only what is owned is claimed",
        ASSIGNORS,
        "        self.member_assignment = sorted(self._owned())\n",
        "",
        _of(UNOWNED, "test_a_member_claims_nothing_that_it_has_lost"),
    ),
    Guard(
        "H13",
        "who is no member owns nothing",
        SOURCE,
        "return set() if is_lost else set(self._consumer.assignment())",
        "return set(self._consumer.assignment())",
        _of(UNOWNED, "test_a_member_expelled_while_it_joins_claims_nothing"),
    ),
    Guard(
        "H14",
        "a look for partitions without owner",
        SOURCE,
        "        self._unowned.look(self._changes.joined)\n",
        "",
        _of(
            UNOWNED,
            "test_a_member_that_comes_back_within_a_move_leaves_no_partition_behind",
            "test_new_partitions_are_noticed_after_the_leader_came_back",
        ),
    ),
    Guard(
        "H15",
        "no topic is created by asking about it",
        CLIENT,
        '        opened[-1].cluster.config["allow_auto_create_topics"] = configs["allow_auto_create_topics"]\n',
        "",
        _of(HAZARDS, "test_a_topic_that_is_missing_is_not_created"),
    ),
    Guard(
        "at least once",
        "confirmation of every record before its offset",
        DELIVERY,
        "records.await_all(time.monotonic() + self._settings.request_timeout_ms / 1_000)",
        "pass",
        _of(REPEATED, "test_offsets_wait_for_every_record"),
    ),
    Guard(
        "at least once",
        "a look at the membership before anything is sent",
        DELIVERY,
        "membership.check_current()  # before",
        "pass  # before",
        _of(REPEATED, "test_a_zombie_doubles_nothing_and_moves_no_offset"),
    ),
    Guard(
        "at least once",
        "another producer after a record failed",
        DELIVERY,
        "            producer, self._producer = self._producer, None\n            discard_producer(producer)\n",
        "",
        _of(REPEATED, "test_a_refused_record_does_not_stop_the_next_ones"),
    ),
    Guard(
        "refusal",
        "no start without transactions",
        SINK,
        "with transaction_errors(self.transactional_id):",
        "with suppress(ValueError):",
        _of(RIGHTS, "test_a_transactional_id_that_is_not_ours_refuses_to_start"),
    ),
    Guard(
        "refusal",
        "topics kept from us are no idle group",
        SOURCE,
        "            self._check_allowed()\n",
        "            pass\n",
        _of(RIGHTS, "test_an_input_topic_that_is_not_ours_is_named"),
    ),
    Guard(
        "compare-and-set",
        "only forward: a later offset stays",
        RULES,
        "if offset >= new or not (is_ours",
        "if not (is_ours",
        _of(CONTRACT, "test_a_zombie_is_stale", "test_the_manifest_never_goes_back"),
    ),
    Guard(
        "compare-and-set",
        "only on the offset relied on",
        RULES,
        "return offset < tonumber(base) and 'rolled_back'",
        "return false",
        _of(CONTRACT, "test_an_older_store_is_noticed"),
    ),
    Guard(
        "compare-and-set",
        "not over the state of a later owner",
        RULES,
        " or is_later then",
        " then",
        _of(CONTRACT, "test_whoever_took_over_later_may_write_a_former_owner_may_not"),
    ),
    Guard(
        "compare-and-set",
        "not over the state of another topic",
        RULES,
        " or is_elsewhere or",
        " or",
        _of(CONTRACT, "test_state_of_another_topic_is_not_written_over"),
    ),
    Guard(
        "key count",
        "counting the keys of a bucket before saving",
        CHECKPOINT,
        "if not begins_anew(index) and redis.call('HLEN', KEYS[bucket]) ~= unpacked(counts, index) then",
        "if false then",
        _of(CONTRACT, "test_a_lost_key_is_noticed"),
    ),
    Guard(
        "key count",
        "counting the keys of a bucket before a large save",
        "streamae/connectors/switch.lua",
        "if not begins_anew(group.index) and redis.call('HLEN', group.bucket) ~= unpacked(counts, group.index) then",
        "if false then",
        _of(CONTRACT, "test_many_keys_are_refused_like_few"),
    ),
    Guard(
        "key count",
        "counting the keys of a bucket before reading",
        LOAD,
        "if expected and redis.call('HLEN', KEYS[bucket]) ~= expected then return nil end",
        "",
        _of(CONTRACT, "test_a_lost_key_is_noticed"),
    ),
    Guard(
        "read check",
        "reading only at the offset relied on",
        LOAD,
        "if base == '' and offset or base ~= '' and offset ~= base then return nil end",
        "",
        _of(CONTRACT, "test_loading_after_another_owner_moved_on_gives_nothing"),
    ),
    Guard(
        "key count",
        "counting the entries of a bucket of the roster before reading",
        ROSTER,
        "if #found ~= 2 * struct.unpack('<I4', counts, ARGV[bucket + 1] * 4 + 1) then return nil end",
        "",
        _of(ROSTER_CONTRACT, "test_a_lost_entry_is_noticed"),
    ),
    Guard(
        "read check",
        "reading the roster only at the offset relied on",
        ROSTER,
        "if base == '' and offset or base ~= '' and offset ~= base then return nil end",
        "",
        _of(ROSTER_CONTRACT, "test_a_roster_that_moved_on_is_not_read"),
    ),
    Guard(
        "fingerprint",
        "state of another meaning is not overwritten",
        RULES,
        " or not (is_ours or is_relied_on) or",
        " or",
        _of(CONTRACT, "test_state_of_another_meaning_is_stale"),
    ),
    Guard(
        "fingerprint",
        "state of another meaning is not gone on from",
        RECOVERY,
        "    if manifest.fingerprint != fingerprint:\n",
        "    if manifest.fingerprint != manifest.fingerprint:\n",
        _of("tests/engine/test_partitions.py", "test_every_case_of_recovery"),
    ),
    Guard(
        "future check",
        "state ahead of the group's offset is not gone on from",
        RECOVERY,
        "    if manifest.offset > target:\n",
        "    if manifest.offset > manifest.offset:\n",
        _of("tests/engine/test_partitions.py", "test_every_case_of_recovery"),
    ),
    Guard(
        "bootstrap",
        "where a new group goes live is committed before anything is learnt",
        RECOVERY,
        "if progress.committed is None and progress.is_replaying}",
        "if progress.committed is None and not progress.is_replaying}",
        _of(
            "tests/engine/test_bootstrap.py",
            "test_the_group_says_where_it_goes_live_before_it_has_learnt",
            "test_a_saved_bootstrap_goes_on_under_every_policy",
        ),
    ),
)
