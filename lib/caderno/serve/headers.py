"""Headers of each answer that keep browsers from making anything else of it; a page may set a policy of its own."""

from __future__ import annotations

from flask import Flask, Response

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with less, a form of our own would say that its origin is null
}
_UNLESS_SET = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def protect(app: Flask) -> None:
    """Give each answer its headers."""

    @app.after_request
    def add(response: Response) -> Response:
        headers = response.headers
        for name, value in _ALWAYS.items():
            headers[name] = value
        for name, value in _UNLESS_SET.items():
            headers.setdefault(name, value)
        return response
