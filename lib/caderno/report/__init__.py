"""Pages for people, made from records: one for each result and each run, what changed, and the index of all runs.

A page is a single file that asks for nothing: no script, style, font or picture from elsewhere. So it can be
mailed, printed and opened in ten years. What notebooks print is untrusted: it passes `safe_html`, or runs in a frame
that is shut in.

    site.py      which pages there are       outputs.py   one cell's outputs -> HTML
    page.py      a result -> its page        prose.py     Markdown -> HTML and its headings
    run_page.py  a run -> its page           formulas.py  TeX -> MathML
    dag.py       the pipeline's picture      live.py      interactive outputs, in frames
    timeline.py  its tasks over time         widgets.py   Jupyter widgets as they were left
    diff.py      what changed                safe.py      the only door for HTML that is not ours
    decision.py  the gate's decision         disk.py      pages on disk
    notebook.py  cells -> what pages show    untrusted.py JSON that may be anything
    frame.py     templates, policy, marks    text.py      numbers, times, names in words
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caderno.report.decision import decision_file, decision_page, write_models
from caderno.report.diff import Diff, comparable, diff_of
from caderno.report.disk import link
from caderno.report.frame import style
from caderno.report.site import EARLIER, MARKS, rebuild, renew_index, run_file, task_file, write_diff, write_site

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from caderno.plan.records import TaskRecord

__all__ = [
    "EARLIER",
    "MARKS",
    "Diff",
    "comparable",
    "decision_file",
    "decision_page",
    "diff_of",
    "link",
    "rebuild",
    "render_task",
    "renew_index",
    "run_file",
    "style",
    "task_file",
    "write_diff",
    "write_models",
    "write_site",
]


def render_task(
    record: TaskRecord, notebook: Mapping[str, Any], earlier: Sequence[tuple[TaskRecord, Path]] = ()
) -> str:
    """Return the task's page as one self-contained HTML document.

    `notebook` is the executed notebook, whole or as far as it came; the cells' places in `record` count in it.
    `earlier` are results of the same task from before with their directories, the newest first: the page says what
    changed since. What can't be made into a page never costs the result: then the page says why.
    """
    from caderno.report.page import failed_page, task_page  # nbconvert takes a second: only who renders pays it

    try:
        return task_page(record, notebook, earlier)
    except Exception as error:
        return failed_page(record, error)
