"""Commands about what was served: shadow."""

from __future__ import annotations

import click

from caderno.cli.common import Checked, cli, pipeline_option
from caderno.cli.delivering import delivery_of, note
from caderno.errors import TrackingError
from caderno.spec.file import Duration

_Duration = Checked(Duration, "duration with a unit, such as 90m, 12h or 7d")


@cli.command()
@pipeline_option
@click.option("--since", type=_Duration, metavar="7d", help="How far back; default: since the champion reigns.")
@click.option("--all", "every", is_flag=True, help="Show all features, also those that did not change.")
@click.option("--json", "as_json", is_flag=True, help="The same for programs.")
def shadow(pipeline: str | None, since: float | None, every: bool, as_json: bool) -> None:
    """Compare the challenger's answers in shadow with the champion's, and what is asked with what it learned from.

    Read from the log of `caderno serve --shadow 0.1 --log-share 0.1`. The figures go to MLflow too, as a run of the
    pipeline's experiment that is named shadow.

    \b
    caderno shadow --since 7d
    """
    from caderno.serve import telling
    from caderno.serve.comparison import compare, log

    delivery = delivery_of(pipeline)
    found = compare(delivery, since)
    if as_json:
        click.echo(found.as_json())
    else:
        telling.show_comparison(found, every)
    try:
        log(delivery, found)
    except TrackingError as error:
        note(f"the figures are not in MLflow: {error.message}")
