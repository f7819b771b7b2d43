"""Where a request goes: one resolution of a host, and the addresses that are never asked.

A host in the settings is its own permission; but what it resolves to may be chosen by somebody else, and the addresses
at which clouds hand out credentials to whoever asks must not be reached that way. Must not know: HTTP.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from streamae.alerting.answers import ForbiddenAddressError, UnreachableError

Address = IPv4Address | IPv6Address

METADATA = frozenset(map(ip_address, ("169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200")))
BROADCAST = IPv4Address("255.255.255.255")
TRANSLATED = IPv6Network("64:ff9b::/96")  # NAT64: the IPv4 address is in the last 32 bits
COMPATIBLE = IPv6Network("::/96")  # likewise, long deprecated
USUAL_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """An address of the settings, taken apart.

    Attributes:
        scheme: `http` or `https`.
        host: name or literal address, in ASCII, without brackets.
        port: TCP port.
        path: path and query, as they are sent.
    """

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def read(cls, url: str) -> Target:
        """Take `url` apart.

        Raises:
            ForbiddenAddressError: it is no http:// or https:// address.
        """
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
            host = host if host.isascii() else host.encode("idna").decode()
            port = parts.port or USUAL_PORTS[parts.scheme]
        except (KeyError, ValueError):
            host, port = "", 0
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "") if host else ""
        if not host or not path.isascii() or any(letter <= " " or letter == "\x7f" for letter in path + host):
            raise ForbiddenAddressError("not an http:// or https:// address")
        return cls(parts.scheme, host, port, path)

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a connection can be shared by."""
        return self.scheme, self.host, self.port

    @property
    def host_header(self) -> str:
        """The header `Host`."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == USUAL_PORTS[self.scheme] else f"{name}:{self.port}"


def allowed_addresses(host: str, port: int) -> list[str]:
    """Resolve `host` once and return the addresses that may be asked, in the order of preference; waits for DNS.

    Raises:
        UnreachableError: it does not resolve.
        ForbiddenAddressError: it resolves, but to nothing that may be asked.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnreachableError(f"{host} does not resolve") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses:
        raise UnreachableError(f"{host} does not resolve")
    allowed = [address for address in addresses if not is_forbidden(address)]
    if not allowed:
        raise ForbiddenAddressError(f"{host} leads to {addresses[0]}, which is never asked")
    return allowed


def is_forbidden(address: str) -> bool:
    """Tell whether an address is never asked: link-local, metadata of a cloud, multicast, broadcast, unspecified.

    Example:
        >>> is_forbidden("169.254.169.254"), is_forbidden("::ffff:169.254.169.254"), is_forbidden("10.0.0.1")
        (True, True, False)
    """
    plain = _innermost(ip_address(address.partition("%")[0]))
    return plain.is_link_local or plain.is_multicast or plain.is_unspecified or plain == BROADCAST or plain in METADATA


def _innermost(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    is_own = int(address) in {0, 1}  # unspecified, loopback
    if address in TRANSLATED or (address in COMPATIBLE and not is_own):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
