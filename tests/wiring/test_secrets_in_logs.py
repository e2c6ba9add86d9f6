"""A real run in which every kind of secret is used: none is in what the server logs."""

from __future__ import annotations

import json
import re
import sqlite3
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pyotp

from tests.console.browsing import Page
from tests.provider import at_provider, provider_process
from tests.wiring.processes import Running, running
from tokenwell import wiring
from tokenwell.config import Settings
from tokenwell.console.security import FORM_FIELD
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.service.suite import Suite

PASSWORD = "correct horse battery staple"
CONFIGURED = {
    "TOKENWELL_UPSTREAM_API_KEY": "sk-upstream-very-secret",
    "TOKENWELL_SECRET_KEY": "sealing-key-that-nobody-can-guess-0123456789",
    "TOKENWELL_SMTP_PASSWORD": "smtp-very-secret",
    "TOKENWELL_OIDC_CLIENT_SECRET": "oidc-very-secret",
    "TOKENWELL_OIDC_CLIENT_ID": "tokenwell",
    "TOKENWELL_OIDC_ALLOW_LOOPBACK": "1",
    "TOKENWELL_ALERTS_ALLOWED_HOSTS": "127.0.0.1",
    "TOKENWELL_LOG_LEVEL": "debug",
}


class Visitor:
    """A browser on a running server, which keeps every secret it meets."""

    def __init__(self, server: Running) -> None:
        self.client = httpx2.Client(base_url=server.address, headers={"origin": server.address})
        self.met: set[str] = set()

    def submit(self, page: str, action: str, **typed: str) -> Any:
        """Open a page and send a form of it."""
        shown = Page(self.client.get(page).text)
        token = shown.csrf_token
        answer = self.client.post(action, data={FORM_FIELD: token, "key": f"form-{len(self.met)}", **typed})
        self.met.add(token)
        for header in [*answer.headers.get_list("set-cookie")]:
            jar: SimpleCookie = SimpleCookie()
            jar.load(header)
            self.met |= {morsel.value for morsel in jar.values() if len(morsel.value) > 30}
        return answer


def test_no_secret_of_any_kind_is_logged(tmp_path: Path) -> None:
    with provider_process() as issuer:
        variables = CONFIGURED | {"TOKENWELL_OIDC_ISSUER": issuer}
        with running("serve", "--json", directory=tmp_path, **variables) as server:
            assert server.process.stdout is not None
            lines = ""
            while not lines.rstrip().endswith("}"):
                lines += server.process.stdout.readline()
            token = json.loads(lines)["set_up_token"]
            secrets = use_everything(server, token)
            secrets |= use_what_breaks(server)
            _, _, err = server.stop()
    assert len(secrets) > 60
    assert err.count("\n") > 20
    assert err.count("Traceback") >= 3  # what went wrong was told, and at length
    for secret in sorted(secrets):
        assert secret not in err, f"{secret[:12]}… is in the log"


def use_everything(server: Running, token: str) -> set[str]:
    """Use every kind of secret, in the right places and in wrong ones; return them all."""
    ada = Visitor(server)
    assert ada.submit("/set-up", "/set-up", token=token, email="ada@example.com", name="Ada", password=PASSWORD).status_code == 303
    with wiring.open_services(settings_of(server)) as suite:
        suite.meter.create_organization("acme")
        suite.meter.grant("acme", "5M")
        gateway_secret = suite.keys.create("acme", name="one").secret
        platform_secret = suite.platform_keys.create(name="Billing", scopes=["packs:read"]).secret
        person = suite.people.find("ada@example.com")
        assert person is not None
        linked = use_links(server, suite, person.id)
    secret_settings = {value for name, value in CONFIGURED.items() if name.endswith(("SECRET", "PASSWORD", "KEY"))}
    met = linked | secret_settings | {token, PASSWORD, gateway_secret, platform_secret}

    issued = Page(ada.submit("/o/acme/keys/new", "/o/acme/keys/new", name="two", expires="never", **{"scope.generate": "1"}).text)
    met.add(issued.all("input", id="secret")[0]["value"])
    invited = Page(ada.submit("/o/acme/members/invite", "/o/acme/members/invite", email="mei@example.com", role="viewer").text)
    link = urlsplit(invited.all("input", id="address")[0]["value"])
    invitation = parse_qs(link.query)["token"][0]
    reset_page = f"/admin/members/{person.id}/reset"
    link = urlsplit(Page(ada.submit(reset_page, reset_page).text).all("input", id="address")[0]["value"])
    reset = parse_qs(link.query)["token"][0]
    factor = Page(ada.client.get("/profile/second-factor").text)
    found = re.search(r"\b[A-Z2-7]{32}\b", factor.text)
    assert found is not None
    sealed = factor.all("input", name="sealed")[0]["value"]
    ada.submit("/profile/second-factor", "/profile/second-factor", sealed=sealed, code="000000")
    met |= {invitation, reset, found[0], sealed}
    met |= use_second_factor(ada, server) | use_webhook(ada) | use_single_sign_on(server)

    guest = Visitor(server)
    guest.submit("/sign-in", "/sign-in", email="ada@example.com", password=PASSWORD + " wrong")
    page = f"/invitation?{urlencode({'token': invitation})}"
    guest.submit(page, "/invitation", token=invitation, name="Mei", password=PASSWORD)
    page = f"/reset?{urlencode({'token': reset})}"
    guest.submit(page, "/reset", token=reset, password=PASSWORD + " two")
    guest.submit("/forgot", "/forgot", email="ada@example.com")
    for secret in (gateway_secret, platform_secret, "tw_live_" + "w" * 40):
        headers = {"authorization": f"Bearer {secret}"}
        body = {"model": "m", "messages": [{"role": "user", "content": "my-private-words"}]}
        httpx2.post(f"{server.address}/v1/chat/completions", json=body, headers=headers, timeout=60)
        httpx2.get(f"{server.address}/v1/organizations/acme/packs", headers=headers)
        httpx2.get(f"{server.address}/v1/organizations/{secret}/packs")  # in the wrong place
    for visitor in (ada, guest):
        visitor.client.close()
    met |= {"w" * 40, "my-private-words", PASSWORD + " wrong", PASSWORD + " two"}
    return {secret for secret in met | ada.met | guest.met if secret}


def settings_of(server: Running) -> Settings:
    """Return settings on the server's own database, with its own key."""
    return Settings(
        database_url=f"sqlite:///{server.directory / 'data' / 'tokenwell.db'}", secret_key=CONFIGURED["TOKENWELL_SECRET_KEY"]
    )


def use_links(server: Running, suite: Suite, person_id: str) -> set[str]:
    """Follow an embedded page's address and a letter's approval, and redeem a code, right and wrong; return what they carried."""
    by = Actor(kind=ActorKind.PERSON, id=person_id, name="Ada")
    embedded = suite.embedding.link("acme")
    approval = suite.approval_links.path_of(suite.topups.ask("acme", "1M", by=by), person_id)
    code, other = suite.codes.create("1k", 2, by=by).codes
    visitor = Visitor(server)
    assert visitor.client.get(embedded).status_code == 200
    assert visitor.client.get(embedded + "x").status_code == 404
    token = parse_qs(urlsplit(approval).query)["token"][0]
    assert visitor.submit(approval, "/topup", token=token).status_code == 200
    assert visitor.client.get(approval + "x").status_code == 404
    visitor.submit("/sign-in", "/sign-in", email="ada@example.com", password=PASSWORD)
    page = "/o/acme/redeem"
    assert visitor.submit(page, page, code=code).status_code == 303
    visitor.submit(page, page, code=other[:-1] + ("2" if other[-1] != "2" else "3"))
    visitor.client.close()
    return visitor.met | {embedded.rpartition("/")[2], token, code, other[:-1], code.replace("-", "")}


def use_second_factor(ada: Visitor, server: Running) -> set[str]:
    """Turn the second factor on, and sign in with it: a wrong code, the app's, a recovery code. Return the secrets of it."""
    page = "/profile/second-factor"
    offer = Page(ada.client.get(page).text)
    found = re.search(r"\b[A-Z2-7]{32}\b", offer.text)
    assert found is not None
    totp, sealed = pyotp.TOTP(found[0]), offer.all("input", name="sealed")[0]["value"]
    shown = ada.submit(page, page, sealed=sealed, code=totp.now())
    codes = set(re.findall(r"\b[a-z0-9]{5}-[a-z0-9]{5}-[a-z0-9]{5}\b", shown.text))
    assert len(codes) == 10
    visitor, recovery = Visitor(server), min(codes)
    answer = visitor.submit("/sign-in", "/sign-in", email="ada@example.com", password=PASSWORD)
    assert answer.headers["location"].startswith("/sign-in/code")
    for code in ("wrong-wrong-wrong", recovery):
        answer = visitor.submit("/sign-in/code", "/sign-in/code", code=code)
    assert answer.status_code == 303
    page += "/remove"
    assert ada.submit(page, page, current=PASSWORD).status_code == 303
    visitor.client.close()
    return codes | {found[0], sealed} | visitor.met


def use_webhook(ada: Visitor) -> set[str]:
    """Add a webhook, replace its signing key and send a test to an address that does not answer; return its secrets."""
    path, page = "/hooks/very-secret-path", "/o/acme/alerts"
    target = f"https://127.0.0.1:9{path}"
    added = ada.submit(page, page, do="add", kind="webhook", target=target, name="Hook", language="en", zone="UTC")
    keys = set(re.findall(r"whsec_[\w+/=]+", added.text))
    channel = re.search(r"/o/acme/alerts/(chn_\w+)", added.text)
    assert channel is not None, added.text
    for do in ("rotate", "test"):
        keys |= set(re.findall(r"whsec_[\w+/=]+", ada.submit(channel[0], channel[0], do=do).text))
    assert len(keys) == 2
    return keys | {key.removeprefix("whsec_") for key in keys} | {path}


def use_single_sign_on(server: Running) -> set[str]:
    """Come in by the provider, and once more with what was brought back; return all that was carried there and back."""
    visitor = Visitor(server)
    begun = visitor.client.get("/sign-in/sso")
    step = begun.cookies["tokenwell_step"]
    location, back = at_provider(begun.headers["location"], "mei")
    asked = parse_qs(urlsplit(begun.headers["location"]).query)
    returned = urlsplit(location)
    for _ in range(2):
        answer = visitor.client.get(f"{returned.path}?{returned.query}")
        visitor.met |= {value for value in answer.cookies.values() if len(value) > 30}
    visitor.client.close()
    return visitor.met | {step, back["code"], back["state"], asked["nonce"][0], asked["code_challenge"][0]}


def use_what_breaks(server: Running) -> set[str]:
    """Break what the database holds, so that requests with secrets in them fail with tracebacks; return the secrets."""
    with wiring.open_services(settings_of(server)) as suite:
        broken = suite.keys.create("acme", name="Broken").secret
    visitor, stranger = Visitor(server), Visitor(server)
    answer = visitor.submit("/sign-in", "/sign-in", email="ada@example.com", password=PASSWORD + " two")
    assert answer.status_code == 303
    database = sqlite3.connect(server.directory / "data" / "tokenwell.db")
    with database:
        database.execute("UPDATE gateway_key SET scopes = 'nonsense' WHERE name = 'Broken'")
        database.execute("UPDATE person SET created_at = 9223372036854775807")
    headers = {"authorization": f"Bearer {broken}"}
    answers = [
        httpx2.get(f"{server.address}/v1/organizations/acme", headers=headers),
        httpx2.post(f"{server.address}/v1/chat/completions", json={"model": "m", "messages": []}, headers=headers),
        visitor.client.get("/o/acme?token=secret-in-an-address"),
        stranger.submit("/sign-in", "/sign-in", email="ada@example.com", password=PASSWORD),
    ]
    assert [answer.status_code for answer in answers] == [500] * 4
    with database:
        database.execute("DROP TABLE sign_in_failure")
    assert stranger.submit("/sign-in", "/sign-in", email="ada@example.com", password=PASSWORD).status_code == 503
    database.close()
    for each in (visitor, stranger):
        each.client.close()
    return visitor.met | stranger.met | {broken, "secret-in-an-address"}
