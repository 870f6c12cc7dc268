"""A task's result from another machine, in place of computing it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat

from caderno import report
from caderno.errors import StoreError
from caderno.plan.planner import Resolved
from caderno.plan.records import TaskRecord
from caderno.plan.store import NOTEBOOK, PAGE, Store, read_record
from caderno.remote import Elsewhere
from caderno.run.outcomes import Done
from caderno.spec import Task

Found = tuple[TaskRecord, Path]


def fetch(store: Store, remote: Elsewhere, task: Task, resolved: Resolved, given_up: Callable[[], bool]) -> Done | None:
    """Return a task whose result was seen to be at `remote`; None where it can't be had after all, which is told.

    Raises Stopped where `given_up()` turns true: what arrived is kept, and the next run goes on from there.
    """
    with store.lock(resolved.fingerprint, given_up):
        if found := here(store, task, resolved):
            return (*found, "cached")
        brought = bring(store, remote, task, resolved, given_up)
        return (*brought, "fetched") if brought else None


def here(store: Store, task: Task, resolved: Resolved) -> Found | None:
    """Return the result of a fingerprint, if it is in the store by now."""
    found, _ = store.find(task.folder, resolved.fingerprint)
    place = store.place(task.folder, resolved.fingerprint)
    record = read_record(place) if found else None
    return (record, place) if record else None


def bring(
    store: Store, remote: Elsewhere, task: Task, resolved: Resolved, given_up: Callable[[], bool]
) -> Found | None:
    """Bring a result that is at `remote` into the store, under the lock on its fingerprint. Raises as `fetch` does."""
    try:
        staged = store.stage(task.folder, resolved.fingerprint, keep=True)
        record = remote.pull(resolved.fingerprint, staged, given_up)
        if record is None:
            return None
        try:
            notebook = nbformat.read(staged / NOTEBOOK, as_version=4)
        except Exception:  # nbformat raises what it meets
            remote.refuse(resolved.fingerprint, "its notebook can't be read")
            return None
        record = record.model_copy(update={"fetched": True})
        earlier = store.before(store.home(task.folder), record.started, report.EARLIER)
        (staged / PAGE).write_text(report.render_task(record, notebook, earlier), encoding="utf-8")
        place = store.commit(staged, record)
    except OSError as error:
        raise StoreError(f"{task.id} can't be kept: {error.strerror or error}", "make room") from None
    store.point_latest(task.folder, record.fingerprint)
    return record, place
