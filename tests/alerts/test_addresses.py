"""Alerts never reach into the network that Tokenwell runs in, however the address is spelt, named, redirected or changed."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from tests.alerts.receivers import Receiver, receiving
from tokenwell.alerts.addresses import Guard
from tokenwell.alerts.posting import Poster
from tokenwell.errors import RequestInvalid, TargetRefused

REFUSED = {
    "loopback": ["127.0.0.1", "127.8.9.10", "::1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1"],
    "private": ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "fc00::1", "fd12:3456::1"],
    "link-local": ["169.254.1.1", "fe80::1", "febf::1"],
    "metadata": ["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"],
    "shared": ["100.64.0.1", "100.127.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"],
    "unspecified": ["0.0.0.0", "::", "0"],
    "broadcast and reserved": ["255.255.255.255", "240.0.0.1", "0.1.2.3"],
    "documentation and benchmarks": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "2001:db8::1"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1"],
    "compatible": ["::127.0.0.1", "::10.0.0.1"],
    "6to4": ["2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::"],
    "NAT64": ["64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"],
    "Teredo": ["2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "site-local": ["fec0::1"],
}
CASES = [(kind, address) for kind, addresses in REFUSED.items() for address in addresses]
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"]


def host_of(address: str) -> str:
    """Return an address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


def answering(*answers: Sequence[str]) -> Guard:
    """Return a guard whose names have other addresses each time they are asked for."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return left.pop(0)

    return Guard(resolve=resolve)


@pytest.mark.parametrize(("kind", "address"), CASES)
def test_an_address_that_is_not_public_is_refused_where_it_is_written(kind: str, address: str) -> None:
    with pytest.raises(TargetRefused):
        Guard().check_url(f"https://{host_of(address)}/hook")


@pytest.mark.parametrize(("kind", "address"), [(kind, each) for kind, each in CASES if ":" in each or each.count(".") == 3])
async def test_a_name_with_such_an_address_is_refused(kind: str, address: str) -> None:
    if address.startswith("0177"):
        address = "127.0.0.1"
    with pytest.raises(TargetRefused):
        await answering([address]).target_of("https://hooks.example.com/")


@pytest.mark.parametrize("address", PUBLIC)
async def test_a_public_address_is_let_through(address: str) -> None:
    assert (await answering([address]).target_of("https://hooks.example.com/")).addresses == (str(ip_address(address)),)
    assert Guard().check_url(f"https://{host_of(address)}/hook")


async def test_one_address_of_many_that_is_not_public_refuses_the_name() -> None:
    with pytest.raises(TargetRefused):
        await answering(["8.8.8.8", "10.0.0.1"]).target_of("https://hooks.example.com/")


async def test_a_scope_or_a_name_of_this_machine_is_refused() -> None:
    with pytest.raises(TargetRefused):
        await Guard().target_of("https://localhost/")
    with pytest.raises(TargetRefused):
        await answering(["fe80::1%eth0"]).target_of("https://hooks.example.com/")


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/", "ftp://hooks.example.com/", "hooks.example.com", "", "https://", "https:///path",
        "javascript:x",
        "https://user:secret@hooks.example.com/", "https://hooks.example.com/#part", "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/", "https://hooks.example.com/a b", "https://hooks.example.com/\r\nHost: x",
        "https://[::1", "https://" + "a" * 3000, "https://例え.example/",
    ],
)  # fmt: skip
def test_what_is_no_address_for_alerts_is_refused(url: str) -> None:
    with pytest.raises(RequestInvalid):
        Guard().check_url(url)


async def test_a_name_that_answers_otherwise_a_moment_later_changes_nothing(receiver: Receiver) -> None:
    """Only the first answer is looked at and connected to: the second, which leads to this machine, is never asked for."""
    guard = answering(["192.0.2.1"], ["127.0.0.1"])
    outcome = await Poster(guard).post(f"https://hooks.example.com:{receiver.port}/", b"{}", {}, shown="hook")
    assert (outcome.is_delivered, outcome.status) == (False, None)
    assert "must not be reached" in outcome.answer
    assert receiver.requests == []


async def test_what_was_checked_is_connected_to_under_the_name_that_was_asked_for() -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with receiving() as receiver:
        guard = Guard(["hooks.internal"], resolve=resolve)
        url = f"http://hooks.internal:{receiver.port}/path?x=1"
        outcome = await Poster(guard).post(url, b"{}", {}, shown="hook")
        assert outcome.is_delivered
        (request,) = receiver.requests
    assert asked == ["hooks.internal"]
    assert (request.path, request.headers["host"]) == ("/path?x=1", f"hooks.internal:{receiver.port}")


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://[::1]:{port}/"])
async def test_a_redirect_into_the_network_is_not_followed(target: str) -> None:
    with receiving() as inner, receiving() as outer:
        outer.answer = lambda request: (307, {"location": target.format(port=inner.port)})
        outcome = await Poster(Guard(["127.0.0.1"])).post(outer.url, b"{}", {}, shown="hook")
        assert (outcome.is_delivered, outcome.status) == (False, 307)
        assert inner.requests == []


async def test_named_hosts_and_networks_may_be_reached_although_they_are_not_public() -> None:
    guard = Guard(["10.1.0.0/16", "fd00:1::/32", "Hooks.Internal."])
    assert guard.check_url("http://10.1.2.3/")
    assert guard.check_url("https://[fd00:1::5]/")
    assert guard.check_url("http://hooks.internal:8080/")
    for url in ("https://10.2.0.1/", "https://[fd00:2::5]/"):
        with pytest.raises(TargetRefused):
            guard.check_url(url)
    with pytest.raises(RequestInvalid):
        guard.check_url("http://hooks.example.com/")


async def test_an_environment_with_a_proxy_changes_nothing(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
    outcome = await Poster(Guard(["127.0.0.1"])).post(receiver.url, b"{}", {}, shown="hook")
    assert outcome.is_delivered


async def test_an_endless_answer_is_read_to_its_beginning_only() -> None:
    with receiving() as receiver:
        receiver.answer = lambda request: (200, {"x-long": "a" * 3000})
        outcome = await Poster(Guard(["127.0.0.1"])).post(receiver.url, b"{}", {}, shown="hook")
    assert outcome.is_delivered
    assert len(outcome.answer) <= 4096
