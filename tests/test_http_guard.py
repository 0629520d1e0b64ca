"""Which addresses may be connected to."""

from __future__ import annotations

import socket

import pytest

from beamvec.transforms.files import http_guard
from beamvec.transforms.files.errors import StoreError, TransientError
from beamvec.transforms.files.http_guard import ForbiddenAddressError, Guard, explain_refusal

FORBIDDEN = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "private",
    "10.0.0.1": "private",
    "100.64.0.1": "reserved",
    "127.0.0.1": "loopback",
    "127.255.0.9": "loopback",
    "169.254.169.254": "link-local",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "private",
    "192.0.2.1": "private",
    "192.88.99.1": "reserved",
    "192.168.1.1": "private",
    "198.18.0.1": "private",
    "203.0.113.9": "private",
    "224.0.0.1": "multicast",
    "240.0.0.1": "private",
    "255.255.255.255": "private",
    "::": "unspecified",
    "::1": "loopback",
    "::127.0.0.1": "reserved",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:169.254.169.254": "link-local",
    "::ffff:0.0.0.0": "unspecified",
    "64:ff9b::10.0.0.1": "private",
    "64:ff9b::a9fe:a9fe": "link-local",
    "64:ff9b:1::1": "reserved",
    "100::1": "private",
    "2001::1": "private",
    "2001:db8::1": "private",
    "2002:7f00:1::": "loopback",
    "2002:a9fe:a9fe::1": "link-local",
    "fc00::1": "private",
    "fd00:ec2::254": "private",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fec0::1": "reserved",
    "ff02::1": "multicast",
    "5f00::1": "reserved",
    "nonsense": "no address",
}
PUBLIC = (
    "8.8.8.8",
    "93.184.215.14",
    "172.32.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
    "2606:4700:4700::1111",
)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_what_is_not_public_is_refused(address):
    # Versions of Python differ about which are private, and which reserved.
    kind, told = FORBIDDEN[address], explain_refusal(address)
    loose = ("private", "reserved")
    assert told in loose if kind in loose else told == kind


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_not(address):
    assert explain_refusal(address) is None


def test_all_addresses_of_a_host_are_looked_at():
    guard = Guard(lambda *_: ["8.8.8.8", "fd00::1"])
    with pytest.raises(ForbiddenAddressError, match=r"the address fd00::1 \(private\)"):
        guard.find_addresses("host", 80)
    assert list(Guard(lambda *_: PUBLIC).find_addresses("host", 80)) == list(PUBLIC)


@pytest.mark.parametrize(
    ("code", "error"), [(socket.EAI_AGAIN, TransientError), (socket.EAI_NONAME, StoreError)]
)
def test_a_name_server_that_is_silent_may_answer_later(monkeypatch, code, error):
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "no")

    monkeypatch.setattr(http_guard.socket, "getaddrinfo", fail)
    with pytest.raises(error) as caught:
        http_guard.resolve("host", 80)
    assert type(caught.value) is error


def test_numbers_in_any_spelling_are_addresses():
    for host in ("127.0.0.1", "2130706433", "0x7f000001", "127.1", "017700000001"):
        assert http_guard.resolve(host, 80) == ["127.0.0.1"]
