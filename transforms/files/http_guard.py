"""What may be connected to: `Guard`, against lists of URLs that lead into a private network.

Whoever writes a list, or whoever a host of the list redirects to, could otherwise have this machine
ask what only it can reach: services on itself, in its network, or a cloud's metadata server with
the machine's credentials. A name is resolved once, and exactly the addresses that were looked at
are connected to, so that a second answer of the name server changes nothing.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from beamvec.transforms.files.errors import StoreError, TransientError

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")
# What versions of Python differ about, or take for global: relays of 6to4, and Teredo, whose
# addresses name one more machine behind a relay.
_RELAYS = tuple(map(ipaddress.ip_network, ("192.88.99.0/24", "2001::/32")))


class ForbiddenAddressError(StoreError):
    """A host has an address that must not be connected to."""


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in the order in which to try them.

    >>> resolve("127.1", 80)
    ['127.0.0.1']

    Raises:
        TransientError: if no name server answers.
        StoreError: if there is no such host.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise TransientError(errno.EIO, "no name server answers") from error
        raise StoreError(errno.EIO, "there is no host of this name") from error
    except UnicodeError as error:
        raise StoreError(errno.EIO, "no host can have this name") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def explain_refusal(address: str) -> str | None:
    """Return what is wrong with an address, None if it is a public one.

    >>> explain_refusal("169.254.169.254"), explain_refusal("::ffff:10.0.0.1")
    ('link-local', 'private')
    >>> explain_refusal("8.8.8.8")
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "no address"
    embedded = _embedded(ip)
    return _explain_kind(ip) if embedded is None else _explain_kind(embedded)


def _embedded(ip: _IP) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address end at, if there is one in it."""
    if not isinstance(ip, ipaddress.IPv6Address):
        return None
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def _explain_kind(ip: _IP) -> str | None:
    kinds = {
        "unspecified": ip.is_unspecified,
        "loopback": ip.is_loopback,
        "link-local": ip.is_link_local,
        "multicast": ip.is_multicast,
        "private": ip.is_private,
        "reserved": ip.is_reserved or not ip.is_global or any(ip in net for net in _RELAYS),
    }
    if ip.version == 6:
        kinds["reserved"] |= ip not in _UNICAST
    return next((kind for kind, is_so in kinds.items() if is_so), None)


def allow_all(_: str) -> None:
    """Refuse no address, in the place of `explain_refusal`."""


@dataclass(frozen=True)
class Guard:
    """Finds the addresses of hosts, and refuses those that must not be connected to.

    Attributes:
        resolve: returns the addresses of a host and a port.
        explain_refusal: returns what is wrong with an address, None for nothing.
    """

    resolve: Callable[[str, int], Sequence[str]] = resolve
    explain_refusal: Callable[[str], str | None] = explain_refusal

    def find_addresses(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host, all of them fit to be connected to.

        Raises:
            ForbiddenAddressError: if one of them is not: a public host has none such.
            StoreError: if there is no such host.
        """
        addresses = self.resolve(host, port)
        for address in addresses:
            if kind := self.explain_refusal(address):
                raise ForbiddenAddressError(
                    errno.EACCES,
                    f"the host has the address {address} ({kind}), which is not connected to "
                    "unless by `allow_private_hosts`",
                )
        return addresses
