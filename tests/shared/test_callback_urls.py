"""Which addresses are called, however they are written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.callback_urls import RefusedUrl, UrlRefusal, parse_callback_url, vet_addresses

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
EVERYTHING = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


def judge(text: str, *addresses: str, allowed: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()) -> str:
    """Return why an address is refused, or an empty text."""
    try:
        url = parse_callback_url(text, allowed)
        vet_addresses(url, [ipaddress.ip_address(address) for address in addresses], allowed)
    except RefusedUrl as refused:
        return str(refused.refusal)
    return ""


class TestAnAddress:
    @pytest.mark.parametrize(
        "text",
        [
            "https://pacs.example.org/hooks/ctclip?site=7",
            "https://pacs.example.org",
            "https://pacs.example.org:8443/a/b#part",
            "https://8.8.8.8/hook",
            "https://[2606:4700:4700::1111]/hook",
            "https://pacs_1.example.org./hook",
        ],
    )
    def test_of_the_internet_is_called_by_https(self, text: str) -> None:
        assert judge(text) == ""

    @pytest.mark.parametrize(
        ("text", "refusal"),
        [
            ("http://169.254.169.254/latest", UrlRefusal.INTERNAL_ADDRESS),
            ("https://192.0.0.192/opc/v2", UrlRefusal.INTERNAL_ADDRESS),
            ("https://168.63.129.16/", UrlRefusal.INTERNAL_ADDRESS),
            ("https://192.88.99.1/", UrlRefusal.INTERNAL_ADDRESS),
            ("https://[fec0::1]/", UrlRefusal.INTERNAL_ADDRESS),
            ("https://[3fff::1]/", UrlRefusal.INTERNAL_ADDRESS),
            ("file:///etc/passwd", UrlRefusal.SCHEME),
            ("gopher://example.org/", UrlRefusal.SCHEME),
            ("//example.org/", UrlRefusal.SCHEME),
            ("http://[::ffff:127.0.0.1]/", UrlRefusal.INTERNAL_ADDRESS),
            ("https://[::127.0.0.1]/", UrlRefusal.INTERNAL_ADDRESS),
            ("https://[64:ff9b::7f00:1]/", UrlRefusal.INTERNAL_ADDRESS),
            ("https://[2002:7f00:1::]/", UrlRefusal.INTERNAL_ADDRESS),
            ("https://[fe80::1%25eth0]/", UrlRefusal.HOST),
            ("https://user:pw@example.org/", UrlRefusal.CREDENTIALS),
            ("https://@example.org/", UrlRefusal.CREDENTIALS),
            ("https://example.org/\r\nHost: other", UrlRefusal.MALFORMED),
            ("https://example.org\\@other.org/", UrlRefusal.MALFORMED),
            ("https://example.org/ a", UrlRefusal.MALFORMED),
            ("https://exаmple.org/", UrlRefusal.INTERNATIONALISED_NAME),  # a Cyrillic letter
            ("https://xn--exmple-4nf.org/", UrlRefusal.INTERNATIONALISED_NAME),
            ("https://example.org:25/", UrlRefusal.PORT),
            ("https://example.org:22/", UrlRefusal.PORT),
            ("https://example.org:0/", UrlRefusal.PORT),
            ("https://example.org:70000/", UrlRefusal.MALFORMED),
            ("https://2130706433/", UrlRefusal.HOST),
            ("https://0x7f000001/", UrlRefusal.HOST),
            ("https://127.1/", UrlRefusal.HOST),
            ("https://017700000001/", UrlRefusal.HOST),
            ("https://10.0.0.1/", UrlRefusal.INTERNAL_ADDRESS),
            ("https://0.0.0.0/", UrlRefusal.INTERNAL_ADDRESS),
            ("https://224.0.0.1/", UrlRefusal.INTERNAL_ADDRESS),
            ("https://255.255.255.255/", UrlRefusal.INTERNAL_ADDRESS),
            ("https://100.64.0.1/", UrlRefusal.INTERNAL_ADDRESS),
            ("https://[fd00::1]/", UrlRefusal.INTERNAL_ADDRESS),
            ("https://[ff02::1]/", UrlRefusal.INTERNAL_ADDRESS),
            ("https:///path", UrlRefusal.HOST),
            ("https://[::1", UrlRefusal.MALFORMED),
            ("", UrlRefusal.MALFORMED),
            ("https://example.org/" + "a" * 2048, UrlRefusal.MALFORMED),
            ("http://8.8.8.8/", UrlRefusal.HTTPS_REQUIRED),
        ],
    )
    def test_of_another_kind_is_refused(self, text: str, refusal: UrlRefusal) -> None:
        assert judge(text) == refusal

    @given(st.text())
    def test_is_parsed_or_refused_whatever_it_is(self, text: str) -> None:
        judge(text)
        judge(f"https://{text}")
        judge(f"https://example.org:{text}")


class TestAName:
    def test_one_of_whose_addresses_is_internal_is_refused(self) -> None:
        assert judge("https://example.org/", "8.8.8.8", "10.0.0.1") == UrlRefusal.INTERNAL_ADDRESS
        assert judge("https://example.org/", "8.8.8.8", "2606:4700:4700::1111") == ""

    def test_is_called_by_plain_http_only_where_every_address_is_allowed(self) -> None:
        assert judge("http://localhost:8080/", "127.0.0.1", "::1", allowed=LOOPBACK) == ""
        assert judge("http://example.org/", "8.8.8.8", allowed=LOOPBACK) == UrlRefusal.HTTPS_REQUIRED
        assert judge("http://localhost/", "127.0.0.1") == UrlRefusal.INTERNAL_ADDRESS


class TestAllowing:
    @pytest.mark.parametrize("text", ["http://169.254.169.254/", "http://[::ffff:7f00:1]/", "http://[fd00:ec2::254]/"])
    def test_everything_still_refuses_metadata_and_disguises(self, text: str) -> None:
        assert judge(text, allowed=EVERYTHING) == UrlRefusal.INTERNAL_ADDRESS

    def test_a_network_lets_its_addresses_be_called(self) -> None:
        assert judge("http://127.0.0.1:8080/hook", allowed=LOOPBACK) == ""
        assert judge("http://[::1]:8080/hook", allowed=LOOPBACK) == ""
        assert judge("http://10.0.0.1/hook", allowed=LOOPBACK) == UrlRefusal.INTERNAL_ADDRESS
