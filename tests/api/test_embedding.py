"""Embedded addresses and who may frame them, by the answers of the API; on both databases."""

from __future__ import annotations

from datetime import timedelta

import httpx2
import pytest

from tests.api.platform import OTHER, OWN, Platform, key
from tests.doubles import START
from tokenwell.errors import NotFound

AT = f"/v1/organizations/{OWN}/embedding"


async def test_an_address_opens_the_page_until_it_lapses_and_is_told_once(api: httpx2.AsyncClient, platform: Platform) -> None:
    body = {"ttl_seconds": 60, "theme": "dark", "language": "zh", "zone": "Asia/Shanghai"}
    first, again = [(await api.post(f"{AT}/links", json=body, headers=key("link"))).json() for _ in range(2)]
    assert (again["address"], again["expires_at"]) == ("", first["expires_at"])
    assert first["expires_at"] == (START + timedelta(seconds=60)).isoformat().replace("+00:00", "Z")
    token = first["address"].rpartition("/embed/")[2]
    shown = platform.suite.embedding.open(token)
    assert (shown.organization_id, shown.theme, shown.language, shown.zone) == (OWN, "dark", "zh", "Asia/Shanghai")
    platform.clock.advance(timedelta(seconds=60))
    with pytest.raises(NotFound):
        platform.suite.embedding.open(token)


async def test_origins_are_set_as_a_whole_and_told_in_the_audit_log(api: httpx2.AsyncClient, platform: Platform) -> None:
    assert (await api.get(f"{AT}/origins")).json() == {"origins": []}
    wanted = {"origins": ["https://app.example.com", "https://App.example.com/"]}
    assert (await api.put(f"{AT}/origins", json=wanted, headers=key())).json() == {"origins": ["https://app.example.com"]}
    assert platform.suite.embedding.origins(OWN) == ("https://app.example.com",)
    assert platform.suite.embedding.origins(OTHER) == ()
    act = platform.suite.audit.list(OWN).items[0].act
    assert (act.action, act.actor.name) == ("embedding.set", "Backend")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("links", {"ttl_seconds": 86_401}), ("links", {"ttl_seconds": 0}), ("links", {"theme": "red"}),
        ("links", {"zone": "x" * 65}), ("origins", {"origins": ["*"]}),
        ("origins", {"origins": ["javascript:alert(1)"]}), ("origins", {}),
    ],
)  # fmt: skip
async def test_what_cannot_be_used_is_refused(http: httpx2.AsyncClient, path: str, body: dict[str, object]) -> None:
    method = "PUT" if path == "origins" else "POST"
    assert (await http.request(method, f"{AT}/{path}", json=body, headers=key())).status_code == 400
    assert (await http.get(f"{AT}/origins")).json() == {"origins": []}
