"""Which hosts are inside a private network."""

from __future__ import annotations

import pytest

from consumer.core.addresses import is_private

PRIVATE = """
localhost LOCALHOST localhost. app.localhost printer.local db.internal router router.lan 1.0.0.127.in-addr.arpa
127.0.0.1 127.1 127.0.1 2130706433 0x7f000001 0x7f.1 0177.0.0.1 017700000001 0 0.0.0.0 10.0.0.5 10.5 172.16.0.1
172.31.255.255 192.168.1.1 169.254.169.254 0xa9fea9fe 100.64.0.1 192.0.2.1 224.0.0.1 255.255.255.255 127.0.0.1.
::1 [::1] :: [fe80::1] [fc00::1] [fd12:3456::1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:10.0.0.1] [64:ff9b::7f00:1]
[2002:7f00:1::] [ff02::1] [2001:db8::1] [nonsense:] 1.2.3.4.5 256.1.1.1 1.2.3.99999 089.1.1.1 99999999999999999999
""".split()
PUBLIC = """
example.com hooks.example.com. EXAMPLE.COM 1.1.1.1 8.8.8.8 134744072 0x08080808 010.010.010.010 172.32.0.1 11.0.0.1
[2606:4700:4700::1111] [::ffff:8.8.8.8] [64:ff9b::808:808] local.example.com 10.0.0.1.example.com xn--bcher-kva.example
""".split()


@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_host_is_found_in_each_of_its_forms(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_host_is_not_private(host: str) -> None:
    assert not is_private(host)


def test_no_host_is_private() -> None:
    assert is_private("")
