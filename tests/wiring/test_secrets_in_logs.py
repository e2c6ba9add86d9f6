"""A real run in which every kind of secret is used: none is in what the server logs."""

from __future__ import annotations

import json
import re
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from tests.console.browsing import Page
from tests.wiring.processes import Running, running
from tokenwell import wiring
from tokenwell.config import Settings
from tokenwell.console.security import FORM_FIELD

PASSWORD = "correct horse battery staple"
CONFIGURED = {
    "TOKENWELL_UPSTREAM_API_KEY": "sk-upstream-very-secret",
    "TOKENWELL_SECRET_KEY": "sealing-key-that-nobody-can-guess-0123456789",
    "TOKENWELL_SMTP_PASSWORD": "smtp-very-secret",
    "TOKENWELL_OIDC_CLIENT_SECRET": "oidc-very-secret",
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
    with running("serve", "--json", directory=tmp_path, **CONFIGURED) as server:
        assert server.process.stdout is not None
        lines = ""
        while not lines.rstrip().endswith("}"):
            lines += server.process.stdout.readline()
        token = json.loads(lines)["set_up_token"]
        secrets = use_everything(server, token)
        _, _, err = server.stop()
    assert len(secrets) > 20
    assert err.count("\n") > 20
    for secret in sorted(secrets):
        assert secret not in err, f"{secret[:12]}… is in the log"


def use_everything(server: Running, token: str) -> set[str]:
    """Use every kind of secret, in the right places and in wrong ones; return them all."""
    ada = Visitor(server)
    assert ada.submit("/set-up", "/set-up", token=token, email="ada@example.com", name="Ada", password=PASSWORD).status_code == 303
    settings = Settings(database_url=f"sqlite:///{server.directory / 'data' / 'tokenwell.db'}")
    with wiring.open_services(settings) as suite:
        suite.meter.create_organization("acme")
        suite.meter.grant("acme", "5M")
        gateway_secret = suite.keys.create("acme", name="one").secret
        platform_secret = suite.platform_keys.create(name="Billing", scopes=["packs:read"]).secret
        person = suite.people.find("ada@example.com")
        assert person is not None
    met = {token, PASSWORD, gateway_secret, platform_secret, *CONFIGURED.values()} - {"debug"}

    issued = Page(ada.submit("/o/acme/keys/new", "/o/acme/keys/new", name="two", expires="never").text)
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
    for visitor in (ada, guest):
        visitor.client.close()
    met |= {"w" * 40, "my-private-words", PASSWORD + " wrong", PASSWORD + " two"}
    return {secret for secret in met | ada.met | guest.met if secret}
