"""Which hosts are this machine alone."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit


def loopback(host: str) -> bool:
    """Whether a host's name or address leads to this machine alone, wherever it is asked (RFC 6761, 6.3)."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


@lru_cache(64)  # each request asks
def names_loopback(authority: str) -> bool:
    """Whether a Host header, such as 127.0.0.1:8501, names this machine so."""
    try:
        return loopback(urlsplit(f"//{authority}").hostname or "")
    except ValueError:
        return False
