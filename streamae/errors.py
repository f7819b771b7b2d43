"""The exceptions of streamae, split by what the operator or the caller does next.

    StreamaeError
    ├── ConfigError        settings wrong or unknown: exit 78, nothing was started
    ├── BundleError        model bundle missing, broken or not fitting: refuse it, keep the previous one
    ├── DataError          training or evaluation data unusable: fix the data
    ├── RetryableError     a service did not answer in time or said no for now: back off, try the same again
    │   ├── MembershipError    not a stable member of the consumer group at this moment: poll on, then retry
    │   ├── TooLargeError      the broker refuses this very message for its size: shorten it, then retry
    │   └── OutcomeUnknownError    a commit was asked for and never answered: find out before sending anything again
    └── FatalError         cannot go on correctly in this process: exit 1, the supervisor restarts it
        └── DeviceError        the device that runs the model failed: another one may do

Every command ends with an `ExitCode`. A bad *record* is never an exception: it becomes a dead letter with a reason (`streamae.reasons.Reason`).
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended; supervisors and scripts rely on the numbers."""

    OK = 0
    FAILURE = 1  # ran and failed; starting again may help
    USAGE = 2  # the command line itself is wrong
    SETTINGS = 78  # EX_CONFIG: starting again cannot help, so the systemd unit does not
    INTERRUPTED = 130  # Ctrl-C


class StreamaeError(Exception):
    """Base of every error raised on purpose by streamae."""


class ConfigError(StreamaeError):
    """What is set is invalid. Carries every problem found, one line each.

    Attributes:
        problems: lines of the form `field: what is wrong (source: where it came from)`.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class BundleError(StreamaeError):
    """A model bundle cannot be used; the message says which file and why."""


class DataError(StreamaeError):
    """Training or evaluation data cannot be used; the message says where and what to do."""


class RetryableError(StreamaeError):
    """A service failed in a way that may pass; nothing in memory was changed by the failed call."""


class MembershipError(RetryableError):
    """This process is not, right now, a stable member of its consumer group."""


class TooLargeError(RetryableError):
    """A message is larger than its topic allows; it will be refused again unless it is shortened.

    Nothing of its transaction was committed.

    Attributes:
        index: position of the message among all messages sent in the transaction, in order.
    """

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class OutcomeUnknownError(RetryableError):
    """A commit was sent and its answer is missing: it may have happened or not, and must not be sent again blindly.

    Catch it before `RetryableError`. Ask `Source.span` of a partition whose offset was in the transaction: it
    waits until the broker has decided, then its committed offset is the transaction's (it happened) or an
    older one (it did not).
    """


class FatalError(StreamaeError):
    """Going on in this process could break a guarantee."""


class DeviceError(FatalError):
    """The device failed to run the model; the same windows may be run on another device."""
