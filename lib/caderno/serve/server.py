"""From an application to a port: waitress in front, ended so that no request is lost."""

from __future__ import annotations

import logging
import resource
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import WSGITask

_LOOK = 0.05  # seconds between looks whether all is answered
_QUIET = 1.0  # seconds without a request, after which a connection that is still open is closed


@dataclass(frozen=True)
class Limits:
    """How much at once: threads that answer, open connections, bytes of a body; seconds that are left at the end."""

    threads: int
    connections: int
    most_bytes: int
    grace: float


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def run(app: Flask, bound: socket.socket, limits: Limits, begin: Callable[[], None], stop: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; `begin` is called when requests are answered, `stop` when no more are wanted.

    At the end connections that wait are still taken, and what was asked is answered; each answer closes its connection.
    """
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server: Any = create_server(
        app,
        sockets=[bound],
        threads=limits.threads,
        connection_limit=limits.connections,
        backlog=1024,
        recv_bytes=64 * 1024,  # large requests arrive in fewer steps
        asyncore_use_poll=True,
        channel_timeout=60,
        cleanup_interval=5,
        max_request_header_size=32 * 1024,
        max_request_body_size=4 * limits.most_bytes,  # up to here the application says what is wrong
        clear_untrusted_proxy_headers=True,
        ident=None,
    )
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())

    def serving() -> None:
        try:
            server.run()
        finally:
            stopping.set()

    _open_files(2 * limits.connections)
    threading.Thread(target=serving, daemon=True, name="caderno-serving").start()
    begin()
    stopping.wait()
    stop()
    _drain(server, time.monotonic() + limits.grace)


def _open_files(wanted: int) -> None:
    """Let this process open so many files, as far as the machine admits: each connection is one."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _drain(server: Any, until: float) -> None:
    """Take the connections that wait, listen no more, and answer what is open."""
    deaf = threading.Event()

    def take() -> None:  # in waitress's own thread
        while select.select([server.socket], [], [], 0)[0]:
            server.handle_accept()
        wasyncore.dispatcher.close(server)  # the socket alone: open connections stay
        deaf.set()

    server.channel_class = _LastChannel
    for channel in list(server.active_channels.values()):
        channel.task_class = _LastTask
    server.trigger.pull_trigger(take)
    deaf.wait(_QUIET)
    quiet = time.monotonic()
    while server.active_channels and time.monotonic() < until:
        if any(_busy(channel) for channel in list(server.active_channels.values())):
            quiet = time.monotonic()
        elif time.monotonic() - quiet > _QUIET:
            break
        time.sleep(_LOOK)
    server.task_dispatcher.shutdown(timeout=max(0.1, until - time.monotonic()))


class _LastTask(WSGITask):  # type: ignore[misc]
    """An answer after which the connection is closed; an application may not say so itself (PEP 3333)."""

    def build_response_header(self) -> bytes:
        """Return the header as if the caller had asked to close."""
        self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        return header


class _LastChannel(HTTPChannel):  # type: ignore[misc]
    task_class = _LastTask


def _busy(channel: Any) -> bool:
    """Whether a connection has a request that is not wholly answered."""
    return bool(channel.requests or channel.request is not None or channel.total_outbufs_len)
