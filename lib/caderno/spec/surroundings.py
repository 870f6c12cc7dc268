"""What a pipeline file names beside its tasks: the module of its routes, the profile of its schedule."""

from __future__ import annotations

from caderno.errors import did_you_mean
from caderno.project import Project
from caderno.spec.file import PipelineFile
from caderno.spec.gating import Tell


def check_surroundings(project: Project, file: PipelineFile, tell: Tell) -> None:
    """Tell what is not there. What is inside of the module of `routes` is seen when it is served."""
    module = (file.routes or "").partition(":")[0]
    place = project.lib.joinpath(*module.split("."))
    if module and not place.with_suffix(".py").is_file() and not (place / "__init__.py").is_file():
        files = (path.relative_to(project.lib).with_suffix("") for path in project.lib.rglob("*.py"))
        known = {".".join(path.parts).removesuffix(".__init__") for path in files}
        tell(("routes",), f"there is no module {module!r} under lib/", did_you_mean(module, known, "module"))
    if (profile := file.schedule and file.schedule.profile) and not (project.profiles / f"{profile}.yaml").is_file():
        known = {path.stem for path in project.profiles.glob("*.yaml")}
        hint = did_you_mean(profile, known, "profile")
        tell(("schedule", "profile"), f"there is no params/profiles/{profile}.yaml", hint)
