"""Detects Orchestra's own address (this machine and port) in a text, in any notation."""

import ipaddress
import re
import socket
import unicodedata
from urllib.parse import unquote

from approvals.policy.surroundings import Surroundings

LETTER = r"[^\s/@\"'=,()\[\]<>|;&:]"
HOSTS = rf"\[[^\[\]\s]*\]|(?<!{LETTER}){LETTER}+|"


def names_our_port(text: str, around: Surroundings) -> bool:
    """Whether the text names this machine and our port, as ``host:port`` or as two words."""
    port = rf"0*{around.port}(?![\d])"
    text = unquote(unicodedata.normalize("NFKC", text)).lower()
    if not re.search(rf"{around.port}(?!\d)", text):
        return False
    if re.search(rf"/dev/(?:tcp|udp)/[^/\s]+/{port}", text):
        return True
    for url, host in set(re.findall(rf"(//(?:[^\s/@]*@)?)?({HOSTS}):{port}", text)):
        if _is_local(host, around) or (url and not _is_foreign_address(host)):
            return True
    if not re.search(rf"(?<![\w.:]){port}(?![\w.])", text):
        return False
    names = {name for name in re.split(r"[^\w.:\[\]-]+", text) if name and (not name.isdigit() or len(name) > 7)}
    return any(_is_local(name, around) for name in names)


def _is_local(host: str, around: Surroundings) -> bool:
    name = host.strip("[]").rstrip(".")
    if not name or "$" in name or "`" in name:  # empty or computed by the shell: assume the worst
        return True
    if name in around.hostnames or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _is_foreign_address(host: str) -> bool:
    address = _address(host.strip("[]").rstrip("."))
    return address is not None and not (address.is_loopback or address.is_unspecified)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an IP address, also in the notations of inet_aton(3): ``127.1``, ``0x7f000001``,
    ``2130706433``.
    """
    if len(name) > 100 or not (name[:1].isdigit() or ":" in name):
        return None
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(name))
        except (OSError, ValueError):
            return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
