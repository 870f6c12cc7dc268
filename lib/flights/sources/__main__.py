"""`python -m flights.sources [--to data/sources] [--registry URL]`: make the example's sources."""

from __future__ import annotations

import argparse
from pathlib import Path

import sqlalchemy as sa

from flights.sources.make import make, registry_rows
from flights.sources.registry import load_registry


def main(arguments: list[str] | None = None) -> None:
    """Make the sources, or load the registry into another database, and say what was done."""
    parser = argparse.ArgumentParser(prog="python -m flights.sources", description="Make the example's sources.")
    parser.add_argument("--to", type=Path, default=Path("data/sources"), help="folder to write to (data/sources)")
    parser.add_argument("--registry", metavar="URL", help="only load the registry into this database")
    given = parser.parse_args(arguments)
    if given.registry:
        with sa.create_engine(given.registry).begin() as connection:
            load_registry(connection, registry_rows())
        print(f"Loaded the registry into {sa.make_url(given.registry).render_as_string(hide_password=True)}.")
        return
    written = make(given.to)
    print(f"Wrote {written} files to {given.to}." if written else f"{given.to} is up to date.")


if __name__ == "__main__":
    main()
