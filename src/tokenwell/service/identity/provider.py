"""The provider of single sign-on (OpenID Connect): found by discovery, asked over https alone, believed only by its signature.

Addresses come from the operator and from the provider's own document. None is asked that is not https, no redirect is followed, and
no answer is read past a limit, so that nothing can be made to reach into the network around the server.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tokenwell.errors import RequestInvalid, SignOnFailed
from tokenwell.service.ports import Clock

SCOPE = "openid email profile"
TIMEOUT_SECONDS = 5.0
ANSWER_LIMIT_BYTES = 512 * 1024
DISCOVERY_LIFETIME = timedelta(minutes=10)
LEEWAY_SECONDS = 60
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What an identity may be signed with. Neither `none` nor a shared secret is among them."""

_WELL_KNOWN = "/.well-known/openid-configuration"


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the provider knows us. `allows_loopback` lets it be asked over http on this machine, for tests and trials alone."""

    issuer: str
    client_id: str
    client_secret: str = ""
    allows_loopback: bool = False


class Discovered(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider says of itself, as far as it is used."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""


class Provider:
    """One provider. Its methods block, and raise SignOnFailed for whatever the provider does wrong."""

    def __init__(self, settings: ProviderSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._known: tuple[Discovered, datetime] | None = None

    @property
    def issuer(self) -> str:
        """Who it is."""
        return self._settings.issuer

    def discover(self) -> Discovered:
        """Return what the provider says of itself; asked again after a while."""
        now = self._clock()
        if self._known is not None and now < self._known[1]:
            return self._known[0]
        found = self._decoded(self._fetch(self.issuer.rstrip("/") + _WELL_KNOWN), Discovered)
        if found.issuer != self.issuer:
            raise SignOnFailed("the provider calls itself something else")
        for address in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri, found.userinfo_endpoint):
            if address:
                check_address(address, allows_loopback=self._settings.allows_loopback)
        self._known = (found, now + DISCOVERY_LIFETIME)
        return found

    def authorization_address(self, *, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Return where a browser is sent to sign in, with a challenge (PKCE, S256) that only we can answer."""
        with self._client(redirect_uri) as client:
            address, _ = client.create_authorization_url(
                self.discover().authorization_endpoint, state=state, code_verifier=verifier, nonce=nonce
            )
        return str(address)

    def claims_for(self, code: str, *, redirect_uri: str, nonce: str, verifier: str) -> dict[str, Any]:
        """Exchange a code, and return what the provider signed about who signed in."""
        found = self.discover()
        try:
            with self._client(redirect_uri) as client:
                token = client.fetch_token(found.token_endpoint, code=code, code_verifier=verifier)
                claims = self._verified(str(token.get("id_token", "")), nonce)
                if found.userinfo_endpoint and "email" not in claims:
                    told = client.get(found.userinfo_endpoint)
                    claims |= self._userinfo(told, str(claims["sub"]))
        except (httpx2.HTTPError, AuthlibBaseError, JoseError, ValueError, KeyError, TypeError) as error:
            raise SignOnFailed("the provider's answer cannot be used", reason=type(error).__name__) from None
        return claims

    def _verified(self, id_token: str, nonce: str) -> dict[str, Any]:
        keys = KeySet.import_key_set(msgspec.json.decode(self._fetch(self.discover().jwks_uri)))
        decoded = jwt.decode(id_token, keys, algorithms=list(ALGORITHMS))
        options = {
            "iss": {"essential": True, "value": self.issuer},
            "aud": {"essential": True, "value": self._settings.client_id},
            "nonce": {"essential": True, "value": nonce},
        }
        params = {"nonce": nonce, "client_id": self._settings.client_id}
        claims = CodeIDToken(decoded.claims, decoded.header, options, params)
        claims.validate(now=int(self._clock().timestamp()), leeway=LEEWAY_SECONDS)
        return dict(decoded.claims)

    @staticmethod
    def _userinfo(answer: httpx2.Response, subject: str) -> dict[str, Any]:
        told = answer.raise_for_status().json()
        if told.get("sub") != subject:
            raise ValueError("the provider tells of somebody else")
        return {name: told[name] for name in told if name not in ("iss", "aud", "exp", "iat", "nonce")}

    def _client(self, redirect_uri: str) -> Any:
        secret = self._settings.client_secret
        return OAuth2Client(
            self._settings.client_id,
            secret or None,
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
            redirect_uri=redirect_uri,
            scope=SCOPE,
            code_challenge_method="S256",
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
        )

    def _fetch(self, address: str) -> bytes:
        check_address(address, allows_loopback=self._settings.allows_loopback)
        try:
            with httpx2.stream("GET", address, timeout=TIMEOUT_SECONDS, follow_redirects=False) as answer:
                if answer.status_code != 200:
                    raise SignOnFailed("the provider does not answer", status=answer.status_code)
                body = b""
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > ANSWER_LIMIT_BYTES:
                        raise SignOnFailed("the provider's answer is too long")
        except httpx2.HTTPError as error:
            raise SignOnFailed("the provider cannot be reached", reason=type(error).__name__) from None
        return body

    @staticmethod
    def _decoded(body: bytes, kind: type[Discovered]) -> Discovered:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError:
            raise SignOnFailed("the provider's document cannot be read") from None


def check_address(address: str, *, allows_loopback: bool) -> None:
    """Return if an address may be asked: https, or http on this machine where that is allowed. Raises SignOnFailed."""
    try:
        parts = urlsplit(address)
        host, scheme = parts.hostname or "", parts.scheme
        has_user = parts.username is not None
    except ValueError:
        raise SignOnFailed("the provider's address cannot be read") from None
    if has_user or not host:
        raise SignOnFailed("the provider's address cannot be read")
    if scheme == "https" or (scheme == "http" and allows_loopback and _is_loopback(host)):
        return
    raise SignOnFailed("the provider is not asked but over https")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_roles(text: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return what each group gives: `ops=acme:organization_admin everyone=acme:viewer root=platform_admin`, apart by spaces.

    A pair is an organization ('' for the platform) and a role. Raises RequestInvalid.
    """
    roles: dict[str, tuple[tuple[str, str], ...]] = {}
    for word in text.split():
        group, _, given = word.partition("=")
        organization, _, role = given.rpartition(":")
        allowed = ("organization_admin", "viewer") if organization else ("platform_admin",)
        if not group or role not in allowed:
            raise RequestInvalid(f"{word} is not group=organization:role or group=platform_admin", field="oidc_roles")
        roles[group] = (*roles.get(group, ()), (organization, role))
    return roles
