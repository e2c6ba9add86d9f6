"""Every error Tokenwell raises on purpose, as one tree.

    TokenwellError
    ├ RequestInvalid          the input is malformed or out of bounds; nothing was changed
    │ ├ AmountInvalid
    │ ├ TimestampNaive
    │ ├ ModelUnrated
    │ ├ ThresholdsInvalid
    │ └ TargetRefused
    ├ AccessDenied            who asks is unknown, or may not do this
    │ ├ CredentialsInvalid
    │ ├ KeyRevoked
    │ ├ ScopeMissing
    │ ├ ServiceDisabled
    │ ├ ModelNotAllowed
    │ ├ SecondFactorNeeded
    │ ├ SignOnFailed
    │ └ SignInThrottled       *
    ├ NotFound                no such thing, or it is another tenant's
    │ ├ OrganizationNotFound
    │ ├ PackNotFound
    │ ├ HoldNotFound
    │ ├ RequestNotFound
    │ ├ TopupNotFound
    │ ├ ModelNotFound
    │ ├ PersonNotFound
    │ ├ ServiceNotFound
    │ ├ KeyNotFound
    │ ├ ChannelNotFound
    │ ├ DeliveryNotFound
    │ └ LinkInvalid
    ├ Conflict                the thing is no longer in the state the command needs
    │ ├ IdempotencyConflict
    │ ├ OrganizationExists
    │ ├ HoldAlreadySettled
    │ ├ HoldAlreadyReleased
    │ ├ PackAlreadyRevoked
    │ ├ PackExpired
    │ ├ TopupClosed
    │ ├ EmergencyRefused
    │ ├ PersonExists
    │ ├ ServiceExists
    │ └ LastAdministrator
    ├ BalanceRefused          the balance does not allow it
    │ ├ AiStopped
    │ └ BalanceHeld           *
    ├ RequestsLimited         too many requests in a short time *
    ├ LimitReached            a limit of the key is reached *
    ├ StoreError              the database
    │ ├ StoreBusy             *
    │ ├ StoreUnavailable      *
    │ ├ CommitUnknown
    │ └ SealBroken
    ├ ServerUnreachable       the SDK's: the server did not answer *
    └ UpstreamError           the AI provider
      ├ UpstreamTimeout
      ├ UpstreamRejected
      ├ UsageMissing
      └ PaymentUnavailable   the payment provider *

    InvariantBroken           a programmer's error; never caught, always logged

    * retryable as it is. CommitUnknown is retried with the same idempotency key.

The docstring of a class is its default message. `details` carries what a program may want to read: the field, the amounts, the
ids. Only the edges (the gateway's dialects, the command line) turn an error into a status, a body or an exit code.
"""

from __future__ import annotations

from tokenwell.errors.refusals import (
    AccessDenied as AccessDenied,
)
from tokenwell.errors.refusals import (
    AmountInvalid as AmountInvalid,
)
from tokenwell.errors.refusals import (
    CredentialsInvalid as CredentialsInvalid,
)
from tokenwell.errors.refusals import (
    KeyRevoked as KeyRevoked,
)
from tokenwell.errors.refusals import (
    ModelNotAllowed as ModelNotAllowed,
)
from tokenwell.errors.refusals import (
    ModelUnrated as ModelUnrated,
)
from tokenwell.errors.refusals import (
    RequestInvalid as RequestInvalid,
)
from tokenwell.errors.refusals import (
    ScopeMissing as ScopeMissing,
)
from tokenwell.errors.refusals import (
    SecondFactorNeeded as SecondFactorNeeded,
)
from tokenwell.errors.refusals import (
    ServiceDisabled as ServiceDisabled,
)
from tokenwell.errors.refusals import (
    SignInThrottled as SignInThrottled,
)
from tokenwell.errors.refusals import (
    SignOnFailed as SignOnFailed,
)
from tokenwell.errors.refusals import (
    TargetRefused as TargetRefused,
)
from tokenwell.errors.refusals import (
    ThresholdsInvalid as ThresholdsInvalid,
)
from tokenwell.errors.refusals import (
    TimestampNaive as TimestampNaive,
)
from tokenwell.errors.refusals import (
    TokenwellError as TokenwellError,
)


class NotFound(TokenwellError):
    """There is no such thing."""

    code = "not_found"
    category = "not_found"


class OrganizationNotFound(NotFound):
    """There is no such organization."""

    code = "organization_not_found"


class PackNotFound(NotFound):
    """The organization has no such pack."""

    code = "pack_not_found"


class HoldNotFound(NotFound):
    """The organization has no such hold."""

    code = "hold_not_found"


class RequestNotFound(NotFound):
    """The organization has no such charged request."""

    code = "request_not_found"


class TopupNotFound(NotFound):
    """The organization has no such request for tokens."""

    code = "topup_not_found"


class ModelNotFound(NotFound):
    """There is no such model."""

    code = "model_not_found"


class PersonNotFound(NotFound):
    """There is no such person."""

    code = "person_not_found"


class ServiceNotFound(NotFound):
    """The organization has no such AI service."""

    code = "service_not_found"


class KeyNotFound(NotFound):
    """There is no such key."""

    code = "key_not_found"


class ChannelNotFound(NotFound):
    """There is no such channel."""

    code = "channel_not_found"


class DeliveryNotFound(NotFound):
    """There is no such delivery."""

    code = "delivery_not_found"


class LinkInvalid(NotFound):
    """This link does not open any more: it was used, replaced, or is too old."""

    code = "link_invalid"


class Conflict(TokenwellError):
    """The command does not fit the present state."""

    code = "conflict"
    category = "conflict"


class IdempotencyConflict(Conflict):
    """The idempotency key was already used with other input."""

    code = "idempotency_conflict"


class OrganizationExists(Conflict):
    """There is already an organization with this id."""

    code = "organization_exists"


class HoldAlreadySettled(Conflict):
    """The hold was already settled."""

    code = "hold_already_settled"


class HoldAlreadyReleased(Conflict):
    """The hold was already released."""

    code = "hold_already_released"


class PackAlreadyRevoked(Conflict):
    """The pack was already revoked."""

    code = "pack_already_revoked"


class PackExpired(Conflict):
    """The pack has expired; grant a new one in its place."""

    code = "pack_expired"


class TopupClosed(Conflict):
    """The request for tokens was decided already."""

    code = "topup_closed"


class EmergencyRefused(Conflict):
    """Emergency tokens are for a balance that is low, once until grants have repaid them."""

    code = "emergency_refused"


class PersonExists(Conflict):
    """There is already a person with this e-mail address."""

    code = "person_exists"


class ServiceExists(Conflict):
    """The organization already has an AI service with this name or id."""

    code = "service_exists"


class LastAdministrator(Conflict):
    """This is the last administrator; make somebody else one first."""

    code = "last_administrator"


class BalanceRefused(TokenwellError):
    """The balance does not allow this request."""

    code = "balance_refused"
    category = "refused"


class AiStopped(BalanceRefused):
    """AI is stopped: the balance is below the minimum reserve. A new pack resumes it."""

    code = "ai_stopped"


class BalanceHeld(BalanceRefused):
    """The available balance is held by requests in progress, or too small for this one."""

    code = "balance_held"
    retryable = True


class RequestsLimited(TokenwellError):
    """Too many requests; try again shortly."""

    code = "requests_limited"
    category = "limited"
    retryable = True


class LimitReached(TokenwellError):
    """A limit of the key is reached; try again when its window is over."""

    code = "limit_reached"
    category = "limited"
    retryable = True


class StoreError(TokenwellError):
    """The database failed."""

    code = "store_error"
    category = "store"


class StoreBusy(StoreError):
    """Too many writes are waiting; try again shortly."""

    code = "store_busy"
    retryable = True


class StoreUnavailable(StoreError):
    """The database cannot be reached; nothing was changed."""

    code = "store_unavailable"
    retryable = True


class CommitUnknown(StoreError):
    """The connection was lost during commit; repeat with the same idempotency key to learn the outcome."""

    code = "commit_unknown"


class SealBroken(StoreError):
    """What is sealed cannot be opened: the secret key is not the one it was sealed with."""

    code = "seal_broken"


class ServerUnreachable(TokenwellError):
    """The server could not be reached."""

    code = "server_unreachable"
    category = "unreachable"
    retryable = True


class UpstreamError(TokenwellError):
    """The AI provider failed."""

    code = "upstream_error"
    category = "upstream"


class UpstreamTimeout(UpstreamError):
    """The AI provider did not answer in time."""

    code = "upstream_timeout"


class UpstreamRejected(UpstreamError):
    """The AI provider refused the request."""

    code = "upstream_rejected"


class UsageMissing(UpstreamError):
    """The AI provider reported no usage."""

    code = "usage_missing"


class PaymentUnavailable(UpstreamError):
    """The payment provider cannot be reached, or refused; nothing was charged."""

    code = "payment_unavailable"
    retryable = True


class InvariantBroken(Exception):
    """A law of the ledger does not hold: a defect of Tokenwell, not of the input."""
