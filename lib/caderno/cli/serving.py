"""Commands about the prediction service: serve, serve-key."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caderno.cli import completing
from caderno.cli.common import Checked, cli
from caderno.errors import CadernoError, UnknownName
from caderno.spec.file import Memory

if TYPE_CHECKING:
    from caderno.serve.answering import Service
    from caderno.serve.keys import Keys
    from caderno.serve.shelf import Shelf
    from caderno.serve.sources import Source
    from caderno.serve.telemetry import Log
    from caderno.serve.tokens import Tokens

_WATCH = 1.0  # seconds between looks at the ledger
_CONNECTIONS = 2000


_Bytes = Checked(Memory, "amount of memory with a unit, such as 500M or 4G")
_share = click.FloatRange(0, 1)


@cli.command()
@click.argument("pipelines", nargs=-1, shell_complete=completing.pipelines)
@click.option(
    "--model", "folders", multiple=True, metavar="NAME=FOLDER", help="Serve an MLflow model from a folder, too."
)
@click.option("--version", "versions", multiple=True, metavar="N", help="Serve this version, too; it may be repeated.")
@click.option(
    "--default", metavar="NAME", help="The model meant where an address names none, as MLflow's /invocations."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8501, show_default=True, help="Port to listen on; 0: a free one.")
@click.option("--watch", type=click.Choice(["on", "off"]), default="on", show_default=True, help="Follow the champion.")
@click.option("--threads", default=64, show_default=True, help="Requests that are answered at once.")
@click.option("--workers", default=1, show_default=True, help="Processes that predict, for each version.")
@click.option("--native-threads", default=1, show_default=True, help="OpenMP and BLAS threads of each worker.")
@click.option(
    "--batch-window", default=0.0, show_default=True, metavar="MS", help="Wait so long for others to batch with."
)
@click.option("--timeout", default=30.0, show_default=True, metavar="S", help="A model must answer within this time.")
@click.option("--memory", type=_Bytes, default="2G", show_default=True, help="A worker that holds more is replaced.")
@click.option("--max-rows", default=100_000, show_default=True, help="Rows of one request.")
@click.option("--max-body", type=_Bytes, default="64M", show_default=True, help="Bytes of one request.")
@click.option(
    "--keys",
    "keys_file",
    type=click.Path(path_type=Path),
    help="API keys that may ask: see `caderno serve-key`.",
)
@click.option("--oidc-issuer", metavar="URL", help="Take bearer tokens of this OpenID Connect issuer, too.")
@click.option("--oidc-audience", metavar="NAME", help="The audience that such tokens must be meant for.")
@click.option("--rate", metavar="N/PERIOD", help="How often each caller may ask, such as 100/second; default: any.")
@click.option(
    "--log-requests", type=click.Choice(["on", "off"]), default="on", show_default=True, help="A line for each request."
)
@click.option(
    "--log-share", type=_share, default=0.0, show_default=True, help="Log this share of predicted rows: 0 none, 1 all."
)
@click.option("--log-without", metavar="FIELD,…", help="Fields that are not logged, such as personal ones.")
@click.option(
    "--log-size", type=_Bytes, default="1G", show_default=True, help="Log of one model; the oldest rows go first."
)
@click.option(
    "--shadow", type=_share, default=0.0, show_default=True, help="The challenger answers this share of requests, too."
)
@click.option("--grace", default=20.0, show_default=True, metavar="S", help="Open requests have so long at the end.")
def serve(
    pipelines: tuple[str, ...],
    folders: tuple[str, ...],
    versions: tuple[str, ...],
    default: str | None,
    host: str,
    port: int,
    watch: str,
    threads: int,
    workers: int,
    native_threads: int,
    batch_window: float,
    timeout: float,
    memory: int,
    max_rows: int,
    max_body: int,
    keys_file: Path | None,
    oidc_issuer: str | None,
    oidc_audience: str | None,
    rate: str | None,
    log_requests: str,
    log_share: float,
    log_without: str | None,
    log_size: int,
    shadow: float,
    grace: float,
) -> None:
    """Answer prediction requests over REST, by the champions of PIPELINES; default: all that have a gate.

    A promotion or a rollback is live within seconds, without a restart. TensorFlow Serving's addresses, those of the
    Open Inference Protocol and MLflow's are understood.

    \b
    caderno serve
    curl -d '{"instances": [{…}]}' http://127.0.0.1:8501/v1/models/flights:predict
    caderno serve --model half_plus_two=models/half_plus_two
    """
    from caderno.serve.access import Access
    from caderno.serve.answering import Service
    from caderno.serve.app import create_app
    from caderno.serve.batching import Settings
    from caderno.serve.routes import mount
    from caderno.serve.server import Limits, listen, run
    from caderno.serve.shelf import Shelf
    from caderno.serve.sources import Delivered
    from caderno.serve.telemetry import Handler, Telemetry

    telemetry = Telemetry(sys.stderr, log_requests == "on")
    logging.basicConfig(handlers=[Handler(telemetry.log)])
    access = Access(host, *_callers(keys_file, oidc_issuer, oidc_audience, telemetry.log), rate)
    settings = Settings(
        window=batch_window / 1000, patience=timeout, memory=memory, workers=workers, threads=native_threads
    )
    sources = _sources(pipelines, folders, versions)
    shelf = Shelf(sources, settings, telemetry)
    service = Service(shelf, max_rows, default or (sources[0].name if len(sources) == 1 else None))
    app = create_app(service, max_body, access, telemetry)
    for source in sources:
        if isinstance(source, Delivered):
            mount(app, service, source.delivery)
    fields = frozenset(filter(None, map(str.strip, (log_without or "").split(","))))
    listening = ExitStack()
    try:
        bound = listen(host, port)
    except OSError as error:
        reason = error.strerror or error
        raise CadernoError(f"{host}:{port} can't be listened on: {reason}", "another --port?") from None

    def begin() -> None:
        shelf.refresh()
        _listen(listening, service, telemetry.log, log_share, shadow, log_size, fields)
        if watch == "on":
            shelf.follow(_WATCH)
        _tell(shelf)
        click.echo(f"http://{host}:{bound.getsockname()[1]}/")

    def stop() -> None:
        telemetry.log.tell("info", "stopping")
        service.stop()

    try:
        run(app, bound, Limits(threads, _CONNECTIONS, max_body, grace), begin, stop)
    finally:
        listening.close()
        shelf.end()


def _tell(shelf: Shelf) -> None:
    for shown in shelf.shown.values():
        labels = {version: label for label, version in shown.wanted.labels.items()}
        told = [f"version {one}" + (f" ({labels[one]})" if one in labels else "") for one in shown.versions]
        click.echo(f"{shown.name}: {', '.join(told) or 'no champion yet'}")


@cli.command("serve-key")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
def serve_key(name: str, file: Path) -> None:
    """Make an API key of a caller NAME: it is printed once, and FILE (for serve --keys) gets a line with its digest.

    Whoever deletes the line takes the key back, at once.
    """
    from caderno.serve import keys

    click.echo(keys.add(name, file))


def _callers(
    file: Path | None, issuer: str | None, audience: str | None, log: Log
) -> tuple[Keys | None, Tokens | None]:
    """Return by what callers are known. Raises CadernoError."""
    from caderno.serve.keys import Keys
    from caderno.serve.tokens import Tokens

    if (issuer is None) != (audience is None):
        raise click.UsageError("--oidc-issuer and --oidc-audience belong together")
    tokens = Tokens(issuer, audience, log.trouble) if issuer and audience else None
    if tokens:
        tokens.fetch()
    return Keys(file, log.trouble) if file else None, tokens


def _listen(
    until: ExitStack, service: Service, said: Log, log: float, shadow: float, size: int, without: frozenset[str]
) -> None:
    """Let the log of predictions and the shadow listen to answers, until `until` is closed. Raises CadernoError."""
    from caderno.project import Project
    from caderno.serve.journal import Journal
    from caderno.serve.logbook import folder_of
    from caderno.serve.shadow import Shadow

    if not (log or shadow):
        return
    known = {
        one.name
        for shown in service.shelf.shown.values()
        for v in shown.versions.values()
        for one in v.signature.inputs
    }
    if unknown := without - known:
        raise UnknownName("field", min(unknown), known)
    journal = Journal(folder_of(Project.find(Path.cwd())), size, without, said.trouble)
    until.callback(journal.close)
    service.journal = journal
    if log:
        service.listeners.append(journal.listener(log))
    if shadow:
        service.shadow = Shadow(service.shelf, journal, shadow, said.trouble)
        until.callback(service.shadow.close)
        service.listeners.append(service.shadow.listen)


def _sources(pipelines: tuple[str, ...], folders: tuple[str, ...], versions: tuple[str, ...]) -> list[Source]:
    """Return the models that are to be served. Raises CadernoError where there is none."""
    from caderno import spec
    from caderno.cli.delivering import note
    from caderno.deliver.delivery import Delivery
    from caderno.errors import ProjectNotFound
    from caderno.project import Project
    from caderno.serve.sources import Delivered, Folder

    found: list[Source] = []
    for one in folders:
        name, _, folder = one.partition("=")
        if not folder:
            raise click.BadParameter(f"{one!r} is not NAME=FOLDER", param_hint="--model")
        found.append(Folder(name, Path(folder)))
    try:
        project = Project.find(Path.cwd())
    except ProjectNotFound:
        if found and not pipelines:
            return found
        raise
    for name in pipelines or () if found else pipelines or project.pipelines():
        pipeline = spec.load(project, spec.choose(project, name))
        if pipeline.gate is not None or pipelines:
            found.append(Delivered(Delivery(project, pipeline, note), versions))
    if not found:
        raise CadernoError(
            "no pipeline here has a gate, so no model can have been released",
            "add gate: to params/<pipeline>.yaml, or name a folder: --model NAME=FOLDER",
        )
    return found
