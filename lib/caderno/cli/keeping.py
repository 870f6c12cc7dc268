"""Commands that begin a project and keep it in order: new, adopt, check, schema, gc, completion."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from caderno.cli import completing
from caderno.cli.common import cli, pipeline_option, store_of
from caderno.errors import CadernoError


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
def new(folder: Path) -> None:
    """Make a project that runs at once in FOLDER, to be made one's own.

    \b
    caderno new shop && cd shop && caderno run && caderno open
    """
    from caderno.start import new as starting

    made = starting.new(folder)
    click.echo(f"made {folder}: the pipeline {made.name}, two notebooks, helpers in lib/{made.name}, their test\n")
    if made.root != Path.cwd():
        click.echo(f"  cd {shlex.quote(str(folder))}")
    click.echo("  caderno run           # prepare, then train")
    click.echo("  caderno open          # the report\n")
    click.echo("later: python -m pytest (needs pytest), git init, and README.md for the rest")


@cli.command()
@click.argument("notebooks", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--pipeline",
    shell_complete=completing.pipelines,
    help="The pipeline to write to; default: the project's, or one named like the folder.",
)
@click.option("--tag", is_flag=True, help="Tag the first cell of literals `parameters` where no cell is.")
@click.option("--copy", is_flag=True, help="Copy notebooks from elsewhere to notebooks/.")
@click.option("--dry-run", is_flag=True, help="Print what would be written; write nothing.")
def adopt(notebooks: tuple[Path, ...], pipeline: str | None, tag: bool, copy: bool, dry_run: bool) -> None:
    """Write the pipeline entry of NOTEBOOKS that exist; what is guessed says so in the YAML.

    \b
    caderno adopt notebooks/*.ipynb --dry-run
    caderno adopt ~/Downloads/tutorial.ipynb --copy --tag
    """
    from caderno.start import adopt as adopting

    adopted = adopting.adopt(Path.cwd(), notebooks, adopting.Options(pipeline, tag, copy, dry_run))
    click.echo(f"{'would write to' if dry_run else 'in'} {adopted.file}:\n\n{adopted.text}")
    for note in adopted.notes:
        click.echo(f"note: {note}")
    if not dry_run:
        click.echo("next: look at what is marked as a guess, then: caderno plan")


@cli.command()
@click.argument("files", nargs=-1)
def check(files: tuple[str, ...]) -> None:  # noqa: ARG001  # taken and ignored, as the help says
    """Find what is wrong in all pipelines, with each profile, and all notebooks; run nothing.

    FILES, which pre-commit hands over, are ignored: a change of one file can break another.

    \b
    caderno check
    """
    from caderno.project import Project
    from caderno.spec import checking

    checked = checking.check(Project.find(Path.cwd()))
    for note in checked.notes:
        click.echo(f"note: {note}")
    if checked.problems:
        raise CadernoError("\n".join(map(str, checked.problems)))
    click.echo(f"nothing wrong in {checked.pipelines} pipelines and {checked.notebooks} notebooks")


@cli.command()
def schema() -> None:
    """Print the JSON Schema of pipeline files, for editors.

    \b
    caderno schema > params/pipeline.schema.json
    """
    from caderno.spec.schema import pipeline_schema

    click.echo(pipeline_schema(), nl=False)


@cli.command()
@pipeline_option
@click.option("--keep", type=click.IntRange(min=1), default=3, show_default=True, help="Results to keep of each task.")
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
def gc(pipeline: str | None, keep: int, dry_run: bool) -> None:
    """Remove results that nothing needs.

    Never the latest, never what a registered model came from, never what one of these was made from.

    \b
    caderno gc --dry-run
    caderno gc --keep 1
    """
    from caderno.plan import gc as collecting
    from caderno.run.listing import show_garbage
    from caderno.run.tracking import Tracking

    project, store = store_of(pipeline)
    with store.alone():
        results, kept = collecting.unneeded(store, keep, Tracking(project, store.pipeline).registered())
        leftovers = collecting.leftovers(store)
        show_garbage(results, kept, leftovers, dry_run)
        if not dry_run:
            collecting.remove([*(result.place for result in results), *leftovers])


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, options, tasks, parameters and profiles.

    \b
    eval "$(caderno completion bash)"                                 in ~/.bashrc
    eval "$(caderno completion zsh)"                                  in ~/.zshrc
    caderno completion fish > ~/.config/fish/completions/caderno.fish
    """
    from caderno.cli.completing import script

    click.echo(script(shell))
