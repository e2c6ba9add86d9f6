"""Security: the headers of every answer, the cookies, and the proof that a form was sent from one of our own pages."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenwell.config import Settings

BODY_LIMIT_BYTES = 64 * 1024
"""The largest form; the largest field is a password of 1,024 bytes."""

FORM_FIELD = "csrf_token"

_DIRECTIVES = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "font-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
)


def policy_framed_by(origins: Sequence[str]) -> str:
    """Return the Content-Security-Policy of a page that these origins may frame."""
    return "; ".join((*_DIRECTIVES, f"frame-ancestors {' '.join(origins) or _NOBODY}"))


_NOBODY = "'none'"
_POLICY = policy_framed_by(())
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Not "no-referrer": with it a browser sends forms of our own pages with the origin "null".
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_UNFRAMED = ("Content-Security-Policy", "X-Frame-Options", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy")
"""What a page that others may frame sets itself, or goes without."""

_STRICT_TRANSPORT = "max-age=31536000"


class SecurityHeaders:
    """Middleware: puts the headers on every answer, and `no-store` on all that do not say how they may be kept."""

    def __init__(self, app: ASGIApp, *, is_secure: bool) -> None:
        self._app = app
        self._is_secure = is_secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and answer with the headers added."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                protect(MutableHeaders(scope=message), is_secure=self._is_secure)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def protect(headers: MutableHeaders, *, is_secure: bool) -> None:
    """Add the headers to an answer's."""
    may_be_framed = "content-security-policy" in headers
    for name, value in _HEADERS.items():
        if not may_be_framed or name not in _UNFRAMED:
            headers[name] = value
    headers.setdefault("Cache-Control", "no-store")
    if is_secure:
        headers["Strict-Transport-Security"] = _STRICT_TRANSPORT


class Cookies:
    """The console's two secret cookies: the session, and what stands in for it in the form of somebody not signed in.

    Over HTTPS their names begin with `__Host-`, so that no other host and no insecure page can set them.
    """

    def __init__(self, settings: Settings) -> None:
        prefix = "__Host-" if settings.secure_cookies else ""
        self.session = f"{prefix}tokenwell_session"
        self.form = f"{prefix}tokenwell_form"
        self.step = f"{prefix}tokenwell_step"
        self._is_secure = settings.secure_cookies

    def put(self, response: Response, name: str, value: str, *, seconds: int) -> None:
        """Set a cookie that scripts cannot read and other sites' forms do not send."""
        response.set_cookie(name, value, max_age=seconds, path="/", secure=self._is_secure, httponly=True, samesite="lax")

    def drop(self, response: Response, name: str) -> None:
        """Delete a cookie."""
        response.delete_cookie(name, path="/", secure=self._is_secure, httponly=True, samesite="lax")


def fresh_secret() -> str:
    """Return a secret that forms can carry, masked."""
    return secrets.token_urlsafe(32)


def mask(secret: str) -> str:
    """Return the secret as a form carries it: under a fresh mask each time, so that compressing a page tells nothing of it."""
    plain = secret.encode()
    pad = secrets.token_bytes(len(plain))
    return base64.urlsafe_b64encode(pad + _xor(plain, pad)).decode()


def matches(masked: str, secret: str) -> bool:
    """Return whether a form carried this secret."""
    try:
        raw = base64.urlsafe_b64decode(masked.encode())
    except (binascii.Error, UnicodeEncodeError, ValueError):
        return False
    half = len(raw) // 2
    return hmac.compare_digest(_xor(raw[half:], raw[:half]), secret.encode())


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=False))


def is_same_origin(request: Request, settings: Settings) -> bool:
    """Return whether a form comes from a page of ours, by what every browser says of its origin.

    Compared by host alone: a proxy in front may have ended TLS. One that changes Host too needs the settings' public address.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin") or request.headers.get("referer")
    if origin is None:
        return site is not None
    ours = {request.headers.get("host", ""), urlsplit(settings.public_url).netloc} - {""}
    try:
        return urlsplit(origin).netloc in ours
    except ValueError:
        return False


def local_path(text: str | None) -> str:
    """Return `text` if it is a path on this server, else `/`: where to go after signing in is not for others to choose."""
    if not text or len(text) > 2000 or not text.startswith("/") or text.startswith(("//", "/\\")):
        return "/"
    if not text.isprintable() or "\\" in text:
        return "/"
    return text
