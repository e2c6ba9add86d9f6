"""Addresses: where alerts may be sent. Whoever adds a webhook must not reach into the network that Tokenwell runs in.

A name is resolved, every address it has is checked, and the connection goes to one of the checked addresses: a name that answers
otherwise a moment later changes nothing. Redirects are not followed. Named hosts and networks can be allowed by a setting.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import msgspec

from tokenwell.errors import RequestInvalid, TargetRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

URL_LIMIT = 2_000

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE = ipaddress.ip_network("::/96")
_NOT_PUBLIC = tuple(ipaddress.ip_network(each) for each in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"))
"""Networks for special use that look public: protocol assignments, 6to4 relays, one cloud's own services."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes: a name as it stands in the URL, a port, and the checked addresses of the name."""

    host: str
    port: int
    addresses: tuple[str, ...]


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses that the system's resolver gives for a name."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


class Guard:
    """Decides what may be reached. `allowed` are names, addresses and networks (`10.1.0.0/16`) that may be although they are not
    public; these may also be spoken to without TLS."""

    def __init__(self, allowed: Sequence[str] = (), *, resolve: Resolve = resolve) -> None:
        self._resolve = resolve
        self._names: set[str] = set()
        self._networks: list[Network] = []
        for each in allowed:
            try:
                self._networks.append(ipaddress.ip_network(each, strict=False))
            except ValueError:
                self._names.add(each.lower().rstrip("."))

    def check_url(self, url: str) -> str:
        """Return a URL that could be sent to, as far as that can be told without resolving it. Raises RequestInvalid,
        TargetRefused."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if len(url) > URL_LIMIT or not url.isascii() or any(letter <= " " for letter in url) or not host or port == 0:
            raise RequestInvalid("the address cannot be read; it begins with https://", field="target")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise RequestInvalid("the address must have no user, password or fragment", field="target")
        literal = _literal(host)
        if literal is not None and not self._is_allowed(host, literal):
            raise TargetRefused(host=host)
        is_named = host.lower().rstrip(".") in self._names or literal is not None
        if parts.scheme != "https" and not (parts.scheme == "http" and is_named and not _is_public(literal)):
            raise RequestInvalid("the address must begin with https://", field="target")
        return url

    async def target_of(self, url: str) -> Target:
        """Return where a URL leads, its addresses resolved and checked. Raises RequestInvalid, TargetRefused, OSError."""
        parts = urlsplit(self.check_url(url))
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        literal = _literal(host)
        texts = [str(literal)] if literal is not None else await self._resolve(host, port)
        addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in texts]
        if not addresses:
            raise OSError("the name has no address")
        # One address that must not be reached refuses the name: it may be the one that is answered next time.
        if not all(self._is_allowed(host, address) for address in addresses):
            raise TargetRefused(host=host)
        return Target(host=host, port=port, addresses=tuple(dict.fromkeys(map(str, addresses))))

    def _is_allowed(self, host: str, address: Address) -> bool:
        if host.lower().rstrip(".") in self._names:
            return True
        plain = _embedded(address) or address
        return _is_public(address) or any(plain in network for network in self._networks if network.version == plain.version)


def _literal(host: str) -> Address | None:
    """Return the address that a host is, in whatever spelling the system would read it (`127.1`, `0x7f000001`, `2130706433`)."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _is_public(address: Address | None) -> bool:
    """Return whether an address is one of the public internet: not private, loopback, link-local, shared, multicast, reserved or
    unspecified, and embedding none that is."""
    if address is None or any(address in network for network in _NOT_PUBLIC):
        return False
    embedded = _embedded(address)
    if embedded is not None:
        return _is_public(embedded)
    if isinstance(address, ipaddress.IPv6Address) and (address.teredo is not None or address in _IPV4_COMPATIBLE):
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for: mapped, 6to4 or NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None
