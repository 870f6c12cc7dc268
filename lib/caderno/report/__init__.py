"""Pages for people, made from records: one for each task, and the run at a glance.

A page is a single file that asks for nothing: no script, style, font or picture from elsewhere. So it can be
mailed, printed and opened in ten years. What notebooks print is untrusted and passes `safe_html` first.

    page.py      a task's record and notebook -> its page      site.py    a run -> reports/index.html
    notebook.py  cells -> what the page shows                  dag.py     the pipeline's picture
    outputs.py   one cell's outputs -> HTML                    frame.py   templates, style, script, CSP
    prose.py     Markdown -> HTML and its headings             text.py    numbers, times, names in words
    safe.py      the only door for HTML that is not ours
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caderno.report.diff import Diff, comparable, diff_of
from caderno.report.site import EARLIER, rebuild, run_file, task_file, write_diff, write_site
from caderno.report.text import page_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from caderno.plan.records import TaskRecord

__all__ = [
    "EARLIER",
    "Diff",
    "comparable",
    "diff_of",
    "page_name",
    "rebuild",
    "render_task",
    "run_file",
    "task_file",
    "write_diff",
    "write_site",
]


def render_task(
    record: TaskRecord, notebook: Mapping[str, Any], earlier: Sequence[tuple[TaskRecord, Path]] = ()
) -> str:
    """Return the task's page as one self-contained HTML document.

    `notebook` is the executed notebook, whole or as far as it came; the cells' places in `record` count in it.
    `earlier` are results of the same task from before with their directories, the newest first: the page says what
    changed since.
    """
    from caderno.report.page import task_page  # nbconvert takes a second: only who renders pays it

    return task_page(record, notebook, earlier)
