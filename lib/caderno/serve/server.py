"""From an application to a port: waitress in front, ended so that no request is lost."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask
from waitress.server import create_server

_LOOK = 0.05  # seconds between looks whether all is answered


@dataclass(frozen=True)
class Address:
    """Where to listen, and how much at once."""

    host: str
    port: int
    threads: int
    connections: int
    most_bytes: int
    grace: float  # seconds that open requests have at the end


def run(app: Flask, address: Address, ready: Callable[[str, int], None], stopping: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is told the address, `stopping` that no more is wanted.

    Then connections that wait are still taken, open requests are answered, and each answer closes its connection.
    Raises OSError where the address is in use.
    """
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server: Any = create_server(
        app,
        host=address.host,
        port=address.port,
        threads=address.threads,
        connection_limit=address.connections,
        backlog=1024,
        asyncore_use_poll=True,
        channel_timeout=60,
        cleanup_interval=5,
        max_request_header_size=32 * 1024,
        max_request_body_size=4 * address.most_bytes,
        clear_untrusted_proxy_headers=True,
        ident=None,
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serving = threading.Thread(target=server.run, daemon=True, name="caderno-serving")
    serving.start()
    ready(server.effective_host, server.effective_port)
    while not stop.wait(0.5):
        if not serving.is_alive():
            raise OSError("the server ended by itself")
    stopping()
    _drain(server, address.grace)


def _drain(server: Any, grace: float) -> None:
    """Take what waits, answer what is open, then stop listening."""
    until = time.monotonic() + grace
    quiet = 0
    listening = server.socket
    while time.monotonic() < until and quiet < 4:
        busy = any(one.requests or (one.total_outbufs_len and not one.will_close) for one in _channels(server))
        quiet = 0 if busy or _waiting(listening) else quiet + 1
        time.sleep(_LOOK)
    listening.close()
    server.task_dispatcher.shutdown(timeout=max(1.0, until - time.monotonic()))


def _channels(server: Any) -> list[Any]:
    return list(server.active_channels.values())


def _waiting(listening: socket.socket) -> bool:
    import select

    return bool(select.select([listening], [], [], 0)[0])
