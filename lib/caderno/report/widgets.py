"""Jupyter widgets as they stood when the notebook ended: a paper form that is filled in, no controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from markupsafe import Markup

from caderno.report.safe import picture, safe_html
from caderno.report.untrusted import mapping

VIEW = "application/vnd.jupyter.widget-view+json"
_STATE = "application/vnd.jupyter.widget-state+json"
_REFERENCE = "IPY_MODEL_"
_DEEPEST = 12
_SILENT = ("LayoutModel", "StyleModel", "ButtonModel", "ControllerModel", "PlayModel")

States = Mapping[str, Mapping[str, Any]]


def states(notebook: Mapping[str, Any]) -> States:
    """Return what an executed notebook knows of its widgets, by their ids."""
    kept = mapping(mapping(notebook.get("metadata")).get("widgets"))
    found = mapping(mapping(kept.get(_STATE)).get("state"))
    return {name: mapping(model) for name, model in found.items()}


def widget(view: object, known: States, show: Callable[[list[Any]], list[Markup]], depth: int = 0) -> Markup | None:
    """Return what a widget shows in the end, or None where nothing is known of it.

    `view` is a widget's view or a reference to its model; `show` renders the outputs that one holds.
    """
    name = view.get("model_id") if isinstance(view, Mapping) else str(view).removeprefix(_REFERENCE)
    model = known.get(str(name))
    if model is None or depth > _DEEPEST:
        return None
    kind, state = str(model.get("model_name", "")), mapping(model.get("state"))
    if kind.endswith(_SILENT):
        return Markup("")
    if "children" in state:
        inside = [widget(one, known, show, depth + 1) or Markup("") for one in state["children"]]
        titles = state.get("titles") or list((state.get("_titles") or {}).values())
        return _box(kind, inside, [str(title) for title in titles])
    if kind == "OutputModel":
        return Markup("").join(show(list(state.get("outputs", []))))
    if kind == "ImageModel":
        return next(_pictures(model, state), None)
    return _line(kind, state)


def _box(kind: str, inside: list[Markup], titles: list[str]) -> Markup:
    if titles:
        parts = [Markup("<dt>{}</dt><dd>{}</dd>").format(*pair) for pair in zip(titles, inside, strict=False)]
        return Markup("<dl>{}</dl>").format(Markup("").join(parts))
    row = "widget-row" if kind.startswith("HBox") else "widget-column"
    return Markup('<div class="{}">{}</div>').format(row, Markup("").join(inside))


def _line(kind: str, state: Mapping[str, Any]) -> Markup | None:
    value = state.get("value")
    labels = state.get("_options_labels")
    if isinstance(labels, list):
        picked = state.get("index")
        places = picked if isinstance(picked, list) else [picked]
        value = ", ".join(str(labels[place]) for place in places if isinstance(place, int) and 0 <= place < len(labels))
    if kind.startswith("HTML"):
        shown = safe_html(str(value or ""))
    elif kind.endswith("ProgressModel") and isinstance(value, (int, float)):
        most = state.get("max", 100)
        shown = Markup('<progress value="{}" max="{}" aria-label="Progress"></progress>').format(value, most)
    elif value is None:
        return None
    else:
        shown = Markup("{}").format(value)
    description = str(state.get("description") or "")
    said = Markup('<span class="widget-name">{}</span> ').format(description) if description else Markup("")
    return Markup('<div class="widget">{}{}</div>').format(said, shown)


def _pictures(model: Mapping[str, Any], state: Mapping[str, Any]) -> Iterator[Markup]:
    for buffer in model.get("buffers", []):
        if buffer.get("path") == ["value"] and buffer.get("encoding") == "base64":
            shown = picture(f"image/{state.get('format', 'png')}", str(buffer.get("data", "")), "Picture in a widget")
            if shown:
                yield shown
