"""Every error that Guardian raises on purpose, as one tree.

    GuardianError
    ├── ConfigError        guardian.toml does not say something usable; carries every problem at once
    ├── RulesError         Sigma rules cannot be loaded; carries every reason at once
    ├── MapError           a MAP.toml does not describe an event
    ├── SchemaError        a record batch is not what EVENTS says
    ├── InputError         a file cannot be read as what it claims to be
    ├── BodyError          an HTTP body is refused as a whole; carries the status to answer
    ├── MessageError       an XR message is refused; carries the word it is counted under
    ├── RequestError       a request for a decision is not usable; carries every problem at once
    ├── StateError         a snapshot cannot be restored
    ├── JournalError       the journal cannot promise durability
    │   └── JournalFullError  it has no room; the sender must wait
    ├── LedgerError        the MSR log is damaged or would fork; carries the place
    ├── DeliveryError      a receiver did not take what it was sent
    │   ├── RetryError     it may take it later
    │   ├── HoldError      it will not before a person changes something: a credential, an address
    │   └── PoisonError    it will never take this
    └── MachineError       the machine refuses: port in use, folder not writable, key not found

Errors carry data and build their sentence in ``__str__``. They never hold payloads, secrets or names of people.
The command line prints the sentence and exits with 2; it never shows a traceback for one of these.
"""

from __future__ import annotations

from dataclasses import dataclass


class GuardianError(Exception):
    """Base of every error that Guardian raises on purpose."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a configuration or request: where, what was expected, what stood there."""

    key: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.key}: expected {self.expected}, got {self.got}"


class ConfigError(GuardianError):
    """The configuration is not usable. ``problems`` lists all that was found, in file order."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        super().__init__(file, problems)
        self.file = file
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(f"{self.file}: {problem}" for problem in self.problems)


class RulesError(GuardianError):
    """Sigma rules cannot be loaded. ``refused`` names file, title and reason of each."""

    def __init__(self, refused: list[str]) -> None:
        super().__init__(refused)
        self.refused = refused

    def __str__(self) -> str:
        return "\n".join(self.refused)


class MapError(GuardianError):
    """A MAP.toml does not describe an event. ``problems`` lists all that was found."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        super().__init__(file, problems)
        self.file = file
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(f"{self.file}: {problem}" for problem in self.problems)


class SchemaError(GuardianError):
    """A record batch does not have the columns of EVENTS."""

    def __init__(self, column: str, expected: str, got: str) -> None:
        super().__init__(column, expected, got)
        self.column = column
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        return f"column {self.column}: expected {self.expected}, got {self.got}"


class InputError(GuardianError):
    """A file cannot be read as what it claims to be. ``place`` names it, with its line where there is one."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)
        self.place = place
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class BodyError(GuardianError):
    """An HTTP body is refused as a whole.

    ``status`` is the answer (400, 413 or 415), ``reason`` the word it is counted under, ``detail`` a sentence that
    says what was expected.
    """

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(status, reason, detail)
        self.status = status
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class MessageError(GuardianError):
    """One XR message is refused; its connection goes on.

    ``reason`` is the word it is counted and answered under, ``detail`` a sentence that says what was expected.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class RequestError(GuardianError):
    """A request for a decision is not usable. ``problems`` lists all that was found, each by its key path."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class StateError(GuardianError):
    """A snapshot cannot be restored: another version, another configuration, or damage."""


class JournalError(GuardianError):
    """The journal cannot promise that what it is given survives."""


class JournalFullError(JournalError):
    """The journal has no room; the sender should come back after ``retry_after_s`` seconds."""

    def __init__(self, used_bytes: int, limit_bytes: int, retry_after_s: float) -> None:
        super().__init__(used_bytes, limit_bytes, retry_after_s)
        self.used_bytes = used_bytes
        self.limit_bytes = limit_bytes
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return (
            f"journal holds {self.used_bytes} of {self.limit_bytes} bytes; retry in {self.retry_after_s:g} s"
        )


class LedgerError(GuardianError):
    """The MSR log is damaged, or an append would fork it. ``place`` names the entry, page or file."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)
        self.place = place
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class DeliveryError(GuardianError):
    """A receiver did not take what it was sent. ``said`` is what it answered, cut to a few hundred characters."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said

    def __str__(self) -> str:
        return self.said


class RetryError(DeliveryError):
    """The receiver may take it later, and not before ``wait_s`` seconds where it said so."""

    def __init__(self, said: str, wait_s: float = 0.0) -> None:
        super().__init__(said)
        self.wait_s = wait_s


class HoldError(DeliveryError):
    """Nothing will be taken before a person changes a credential or an address; nothing is wrong with what was sent."""


class PoisonError(DeliveryError):
    """The receiver will never take this, however often it is sent."""


class MachineError(GuardianError):
    """The machine refuses something the service needs; the message says what and what to do."""
