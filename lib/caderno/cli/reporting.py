"""Commands that make pages: report, diff."""

from __future__ import annotations

from pathlib import Path

import click

from caderno.cli import completing
from caderno.cli.common import chosen, cli, pipeline_option, planner_of, store_of
from caderno.errors import CadernoError


@cli.command()
@click.argument("tasks", nargs=-1, metavar="[TASK]...", shell_complete=completing.tasks)
@pipeline_option
@click.option("--pdf", is_flag=True, help="Also print the last run's page, or those of TASKS, by a local Chromium.")
@click.option("--code", is_flag=True, help="With all code in the PDF; else there is none.")
def report(tasks: tuple[str, ...], pipeline: str | None, pdf: bool, code: bool) -> None:
    """Make all pages in reports/ from the results that are there, without running anything.

    Only pages that are missing or out of date are written.

    \b
    caderno report
    caderno report --pdf compare
    """
    from caderno import report as pages
    from caderno.deliver.place import has_ledger
    from caderno.project import Project
    from caderno.report import pdf as printing

    if (tasks or code) and not pdf:
        raise click.UsageError(f"{'TASK' if tasks else '--code'} goes with --pdf; pages are made of everything")
    project = Project.find(Path.cwd())
    browser = printing.browser() if pdf else ""
    count = pages.rebuild(project)
    if has_ledger(project):
        from caderno.deliver.pages import write_all

        write_all(project)
    index = project.reports / "index.html"
    place = project.relative(index if index.exists() else project.reports)
    click.echo(f"{count or 'no'} page{'s' * (count != 1)} written: {place}")
    if not pdf:
        return
    planner = planner_of(pipeline, None, ()) if tasks else None
    if planner:
        found = [pages.task_file(project, planner.newest(planner.one(task))[0]) for task in tasks]
    else:
        _, store = store_of(pipeline)
        last = store.last_run()
        if last is None:
            raise CadernoError(f"the pipeline {store.pipeline} has not been run yet", "run: caderno run")
        found = [pages.run_file(project, last)]
    for page in found:
        made = printing.print_page(browser, page, code)
        click.echo(f"{project.relative(made)}")


@cli.command()
@click.argument("task", shell_complete=completing.tasks)
@click.argument("a", required=False)
@click.argument("b", required=False)
@pipeline_option
def diff(task: str, a: str | None, b: str | None, pipeline: str | None) -> None:
    """Show what changed between two results of TASK, here and on a page.

    A and B name results by the first letters of their fingerprint or of their run's id. Without B it is the newest
    one, without A the last success before that.

    \b
    caderno diff compare
    caderno diff 'train[model=forest]' 3f9a0c12
    caderno diff 'train[model=forest]' 3f9a0c12 20131109-07
    """
    from caderno import report as pages
    from caderno.run import listing

    planner = planner_of(pipeline, None, ())
    one = planner.one(task)
    found = planner.store.all_of(one.folder)
    if not found:
        planner.newest(one)  # says that it has not been run
    new = chosen(found, b, one.id) if b else found[0]
    old = chosen(found, a, one.id) if a else next(iter(pages.comparable(new[0], found)), None)
    if old is None:
        raise CadernoError(
            f"{one.id} has no result before that of {new[0].started:%Y-%m-%d %H:%M} UTC: there is nothing to compare",
            "change something and run it again, or name two results",
        )
    found_out = pages.diff_of(old, new)
    page = pages.write_diff(planner.project, found_out)
    listing.show_diff(found_out, planner.project.relative(page))
