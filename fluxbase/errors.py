"""Every error a caller can meet; it must not know HTTP, JSON-RPC or Postgres.

FluxbaseError
├── InvalidMessage        FLX100  the message is not one this server can read
├── InvalidArgument       FLX101  an argument is wrong
│   └── InvalidFilter     FLX102  a filter, select or order is wrong
├── UnknownTable          FLX201  no such table for this caller
├── UnknownColumn         FLX202  no such column for this caller
├── UnknownBucket         FLX204  no such bucket for this caller
├── UnknownObject         FLX205  no such object for this caller
├── UnknownCollection     FLX206  no such collection for this caller
├── UnknownProcedure      FLX207  no such procedure, or call of one, for this caller
├── UnknownFunction       FLX208  no such function, or call of one, for this caller
├── UnknownJob            FLX209  no such job for this caller
├── Unauthenticated       FLX301  no credential, or not a valid one
├── Forbidden             FLX302  the caller may not do this
│   └── InsufficientScope FLX305  an assistant needs a scope that was not granted
├── UnknownTool           FLX401  no such tool for this caller
├── UnknownResource       FLX402  no such resource for this caller
├── UnknownMethod         FLX403  no such method
├── UnknownPrompt         FLX404  no such prompt for this caller
├── RateLimited           FLX501  too many calls
├── TooLarge              FLX502  more bytes than the server takes
├── DeadlineExceeded      FLX503  it took too long and was stopped
├── Unavailable           FLX504  a part this needs is not up right now
├── TooManyAffected       FLX505  a write would touch more rows than allowed
├── Cancelled             FLX507  the client gave the call up
├── ConstraintViolation   FLX601  the database's own rules refuse the data
├── InvalidData           FLX602  a value does not fit the column's type
├── HandlerFailed         FLX801  the code of an administrator threw or was stopped
├── ConfigError           FLX701  the configuration is wrong
├── MigrationError        FLX702  a migration cannot be applied
└── InternalError         FLX901  our fault

The hundreds say which stage refused: 1 input, 2 catalog, 3 identity, 4 missing, 5 limits,
6 data, 7 operation, 8 functions and jobs, 9 ours. A message says what was wrong, where and what to
do; it never repeats the caller's input, a driver's text or a secret.
"""

from __future__ import annotations

from typing import ClassVar


class FluxbaseError(Exception):
    """The root: a code that names the refusing stage, a message, and a hint of what to do."""

    code: ClassVar[str] = "FLX900"
    title: ClassVar[str] = "Error"
    status: ClassVar[int] = 500

    def __init__(
        self, message: str | None = None, *, hint: str | None = None, retry_after: int | None = None
    ) -> None:
        self.message = message or self.title
        self.hint = hint
        self.retry_after = retry_after
        super().__init__(self.message)

    def as_dict(self) -> dict[str, str | int]:
        """Return the public form: `code`, `message`, and `hint`, `retry_after` (s) when known."""
        public: dict[str, str | int] = {"code": self.code, "message": self.message}
        if self.hint is not None:
            public["hint"] = self.hint
        if self.retry_after is not None:
            public["retry_after"] = self.retry_after
        return public


class InvalidMessage(FluxbaseError):
    """The bytes are not a message this server can read: bad JSON, or not JSON-RPC 2.0."""

    code, title, status = "FLX100", "The message cannot be read", 400


class InvalidArgument(FluxbaseError):
    """An argument is missing, unknown, of the wrong type or out of range."""

    code, title, status = "FLX101", "An argument is wrong", 400


class InvalidFilter(InvalidArgument):
    """A select, filter or order does not follow the grammar."""

    code, title = "FLX102", "A filter, select or order is wrong"


class UnknownTable(FluxbaseError):
    """The table does not exist, or not for this caller: the two look the same on purpose."""

    code, title, status = "FLX201", "No such table", 404


class UnknownColumn(FluxbaseError):
    """The column does not exist, or not for this caller: the two look the same on purpose."""

    code, title, status = "FLX202", "No such column", 404


class UnknownRelationship(FluxbaseError):
    """The tables are not related for this caller, or in several ways of which none is named."""

    code, title, status = "FLX203", "No such relationship", 404


class UnknownBucket(FluxbaseError):
    """The bucket does not exist, or not for this caller: the two look the same on purpose."""

    code, title, status = "FLX204", "No such bucket", 404


class UnknownObject(FluxbaseError):
    """The object does not exist, or not for this caller: the two look the same on purpose."""

    code, title, status = "FLX205", "No such object", 404


class UnknownCollection(FluxbaseError):
    """The collection does not exist, or not for this caller: the two look the same on purpose."""

    code, title, status = "FLX206", "No such collection", 404


class UnknownProcedure(FluxbaseError):
    """The procedure, or a call of one, does not exist for this caller; the two look the same."""

    code, title, status = "FLX207", "No such procedure", 404


class UnknownFunction(FluxbaseError):
    """The function, or a call of one, does not exist for this caller; the two look the same."""

    code, title, status = "FLX208", "No such function", 404


class UnknownJob(FluxbaseError):
    """The job, or what handles such jobs, does not exist for this caller; the two look the same."""

    code, title, status = "FLX209", "No such job", 404


class Unauthenticated(FluxbaseError):
    """No credential was sent, or one that is malformed, unknown, wrong, expired or revoked."""

    code, title, status = "FLX301", "A valid key or token is required", 401


class Forbidden(FluxbaseError):
    """The caller is known, but its scopes, key or Postgres privileges do not allow this."""

    code, title, status = "FLX302", "Not allowed", 403


class InsufficientScope(Forbidden):
    """The user did not grant the assistant a scope that this needs; `scopes` are all it needs."""

    code, title = "FLX305", "The assistant was not granted the scope that this needs"

    def __init__(self, scopes: tuple[str, ...] = (), *, hint: str | None = None) -> None:
        super().__init__(hint=hint or "scopes needed: " + " ".join(scopes))
        self.scopes = scopes


class UnknownTool(FluxbaseError):
    """The tool does not exist, or not for this caller: the two look the same on purpose."""

    code, title, status = "FLX401", "No such tool", 404


class UnknownResource(FluxbaseError):
    """The resource does not exist, or not for this caller: the two look the same on purpose."""

    code, title, status = "FLX402", "No such resource", 404
    uri: str | None = None  # as it was asked for, where the protocol wants it said


class UnknownMethod(FluxbaseError):
    """The JSON-RPC method does not exist in the protocol version spoken."""

    code, title, status = "FLX403", "No such method", 404


class UnknownPrompt(FluxbaseError):
    """The prompt does not exist, or not for this caller: the two look the same on purpose."""

    code, title, status = "FLX404", "No such prompt", 404


class RateLimited(FluxbaseError):
    """The caller used up its calls for this window; `retry_after` says when to come back."""

    code, title, status = "FLX501", "Too many requests", 429

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        retry_after: int | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint, retry_after=retry_after)
        self.limit = limit


class TooLarge(FluxbaseError):
    """The request has more bytes than `mcp.max_message_size` allows."""

    code, title, status = "FLX502", "The request is too large", 413


class DeadlineExceeded(FluxbaseError):
    """The work ran into its time limit and was stopped; nothing of it was kept."""

    code, title, status = "FLX503", "The time limit was reached", 504


class Unavailable(FluxbaseError):
    """Postgres or another part is down or full; the same call may work after `retry_after` s."""

    code, title, status = "FLX504", "Temporarily unavailable", 503

    def __init__(
        self, message: str | None = None, *, hint: str | None = None, retry_after: int = 1
    ) -> None:
        super().__init__(message, hint=hint, retry_after=retry_after)


class TooManyAffected(FluxbaseError):
    """The write matched more rows than `max_affected`; nothing was changed."""

    code, title, status = "FLX505", "Too many rows would be affected", 409


class Conflict(FluxbaseError):
    """Rows are not as the call expects them, or its idempotency key was used otherwise."""

    code, title, status = "FLX506", "The call conflicts with what is there", 409


class Cancelled(FluxbaseError):
    """The client took the call back while it ran; it was stopped and nothing of it was kept."""

    code, title, status = "FLX507", "The call was cancelled", 409


class ConstraintViolation(FluxbaseError):
    """A unique, foreign key, check or not-null rule of the table refuses the data."""

    code, title, status = "FLX601", "The data breaks a rule of the table", 409


class InvalidData(FluxbaseError):
    """A value cannot be read as the column's type, or is out of its range."""

    code, title, status = "FLX602", "A value does not fit its column", 400


class HandlerFailed(FluxbaseError):
    """The code of a function or a job threw, ended by itself, or went over one of its limits."""

    code, title, status = "FLX801", "The function failed", 502


class ConfigError(FluxbaseError):
    """The configuration has an unknown key, a wrong type or a value that cannot work."""

    code, title, status = "FLX701", "The configuration is wrong", 500


class MigrationError(FluxbaseError):
    """A migration file is malformed, was changed after it ran, or failed."""

    code, title, status = "FLX702", "A migration cannot be applied", 500


class InternalError(FluxbaseError):
    """Something the server did not expect; the request id finds it in the log."""

    code, title, status = "FLX901", "Internal error", 500
