"""The weather service, small: serves the pages of `flights.sources.weather` over HTTP.

`GET /weather/2013-01/index.json`, then its `next` links. `python -m flights.service --port 8080`, and the source of a
month is `http://127.0.0.1:8080/weather/2013-01`.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from flask import Flask, Response, jsonify, send_file

PAGE = re.compile(r"\d{4}-\d{2}/(index|[A-Z0-9]{3,4}/\d{4}-\d{2}-\d{2})\.json")


def create_app(data: Path) -> Flask:
    """The service for a folder with one directory a month. What is no page of it is a 404, in JSON."""
    app = Flask("flights.service")
    root = data.resolve()

    @app.get("/weather/<path:page>")
    def weather(page: str) -> Response | tuple[Response, int]:
        if not PAGE.fullmatch(page):
            return jsonify(error="not the address of a page"), 404
        file = (root / page).resolve()  # follows symbolic links, which may lead out
        if not file.is_relative_to(root) or not file.is_file():
            return jsonify(error=f"there is no page {page}"), 404
        return send_file(file, mimetype="application/json")

    return app


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m flights.service", description="Serve the weather pages.")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine only)")
    parser.add_argument("--data", type=Path, default=Path("data/sources/weather"), help="folder of months")
    given = parser.parse_args(arguments)
    if not given.data.is_dir():
        parser.error(f"{given.data} is not a folder: run `make sources`, or give --data")
    create_app(given.data).run(host=given.host, port=given.port, threaded=True)


if __name__ == "__main__":
    main()
