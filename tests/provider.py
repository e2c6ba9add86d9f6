"""A provider of single sign-on in a process of its own, with people in groups."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import httpx2

from tokenwell.service.identity.provider import Provider, ProviderSettings
from tokenwell.service.identity.single_sign_on import SingleSignOn
from tokenwell.service.suite import Suite

ROLES = "ops=acme:organization_admin staff=acme:viewer staff=beta:viewer root=platform_admin"
USERS = [
    {"sub": "mei", "email": "Mei@Example.com", "email_verified": True, "name": "Mei Lin", "groups": ["staff", "ops", "other"]},
    {"sub": "vic", "email": "vic@example.com", "email_verified": True, "groups": ["staff"]},
    {"sub": "eve", "email": "ada@example.com", "email_verified": False, "groups": ["root"]},
    {"sub": "ada", "email": "ada@example.com", "email_verified": True, "groups": ["root"]},
    {"sub": "nobody"},
]


@contextmanager
def provider_process() -> Iterator[str]:
    """Run a provider that knows the users; yields its issuer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    users = [part for user in USERS for part in ("--user-claims", json.dumps(user))]
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), *users]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            _wait_for(f"{address}/.well-known/openid-configuration", process)
            yield address
        finally:
            process.terminate()


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None
        try:
            if httpx2.get(address).status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.1)
    raise AssertionError("the provider does not answer")


def sign_on_with(suite: Suite, issuer: str, client_id: str = "tokenwell") -> SingleSignOn:
    """Return single sign-on of a suite with the provider."""
    settings = ProviderSettings(issuer=issuer, client_id=client_id, client_secret="secret", allows_loopback=True)
    provider = Provider(settings, suite.meter.clock)
    return SingleSignOn(suite.people, suite.sealer, provider, name="Example", groups_claim="groups", roles=ROLES)


def at_provider(address: str, subject: str) -> tuple[str, dict[str, str]]:
    """Sign in at the provider as a browser would; returns where it sends one back, and what it says there."""
    answer = httpx2.post(address, data={"sub": subject})
    assert answer.status_code == 302, answer.text
    location = answer.headers["location"]
    return location, {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
