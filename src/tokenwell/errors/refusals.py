"""Of the tree of errors: its root, what is wrong with a request, and who may not make it."""

from __future__ import annotations

from typing import Any, ClassVar


class TokenwellError(Exception):
    """Something went wrong in Tokenwell."""

    code: ClassVar[str] = "error"
    category: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.details = details
        super().__init__(self.message)


class RequestInvalid(TokenwellError):
    """The request is malformed."""

    code = "request_invalid"
    category = "invalid"


class AmountInvalid(RequestInvalid):
    """The amount of tokens is not a whole number within bounds."""

    code = "amount_invalid"


class TimestampNaive(RequestInvalid):
    """The instant has no time zone."""

    code = "timestamp_naive"


class ModelUnrated(RequestInvalid):
    """No rate is known for this model."""

    code = "model_unrated"


class ThresholdsInvalid(RequestInvalid):
    """The warning threshold must not be below the minimum reserve, and neither below zero."""

    code = "thresholds_invalid"


class TargetRefused(RequestInvalid):
    """The address leads to a place that must not be reached from here."""

    code = "target_refused"


class AccessDenied(TokenwellError):
    """Access is denied."""

    code = "access_denied"
    category = "denied"


class CredentialsInvalid(AccessDenied):
    """The credentials are not valid."""

    code = "credentials_invalid"


class KeyRevoked(AccessDenied):
    """The key was revoked."""

    code = "key_revoked"


class ScopeMissing(AccessDenied):
    """The credentials do not allow this."""

    code = "scope_missing"


class ServiceDisabled(AccessDenied):
    """The AI service this key belongs to is disabled."""

    code = "service_disabled"


class ModelNotAllowed(AccessDenied):
    """The key does not allow this model."""

    code = "model_not_allowed"


class SecondFactorNeeded(AccessDenied):
    """The password was right; a code of the second factor is needed too."""

    code = "second_factor_needed"


class SignOnFailed(AccessDenied):
    """Single sign-on did not succeed."""

    code = "sign_on_failed"


class SignInThrottled(AccessDenied):
    """Too many failed sign-ins; try again later."""

    code = "sign_in_throttled"
    retryable = True
