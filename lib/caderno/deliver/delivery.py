"""From a candidate to a champion, step by step: release, sign, promote, roll back.

A step is one row of the ledger, and then MLflow's aliases follow it. Whoever is killed between the two leaves a half
step: the model's tag names the row that the aliases follow, so the next command sees that they lag, completes it and
says so. Aliases that differ though nothing lags were moved by hand.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from caderno import report
from caderno.deliver import decisions, files, pages
from caderno.deliver.candidates import Candidate, best
from caderno.deliver.decisions import DecisionRecord
from caderno.deliver.evidence import Measured, Question, measure
from caderno.deliver.files import Tampered
from caderno.deliver.gate import decide, rules
from caderno.deliver.ledger import Action, Entry, Outpaced, ledger_of
from caderno.deliver.registry import Alias, Registry, Source
from caderno.deliver.standing import Person, Standing, Version, Wanted, lacking, standing, wrote
from caderno.errors import CadernoError, TrackingError, did_you_mean
from caderno.plan.store import Store, read_record
from caderno.project import Project
from caderno.run.tracking import Tracking
from caderno.spec import Pipeline
from caderno.spec.file import GateFile
from caderno.spec.gating import approvals


class NotAllowed(CadernoError):
    """A gate or an approval is missing."""

    exit_code = 3


def gate_of(pipeline: Pipeline) -> GateFile:
    """Return a pipeline's gate. Raises CadernoError where it has none."""
    if pipeline.gate is None:
        raise CadernoError(
            f"the pipeline {pipeline.name} has no gate: nothing says which of its models may be delivered",
            f"add gate: to params/{pipeline.name}.yaml; params/README.md has its keys",
        )
    return pipeline.gate


def version_in(now: Standing, word: str | None, model: str) -> Version:
    """Return the version that a word names, such as 3, v3 or champion; without a word the challenger."""
    number = {"champion": now.champion, "challenger": now.challenger}.get(word or "challenger", word)
    if number is None:
        hint = "caderno release makes one" if now.versions else "nothing was released yet: caderno release"
        raise CadernoError(f"{model} has no {word or 'challenger'}", hint)
    number = number.removeprefix("v")
    if number not in now.versions:
        raise CadernoError(f"{model} has no version {word!r}", did_you_mean(number, now.versions, "version"))
    return now.versions[number]


def version_of(project: Project, pipeline: Pipeline, word: str) -> Version:
    """Return the version of a pipeline's model that a word names, by the ledger alone. Raises CadernoError."""
    return version_in(standing(ledger_of(project).rows(pipeline.model)), word, pipeline.model)


class NothingNew(CadernoError):
    """What would be released is the champion already."""


class Delivery:
    """The model of one pipeline; `say` is told what was done beside what was asked."""

    def __init__(self, project: Project, pipeline: Pipeline, say: Callable[[str], None]) -> None:
        """Open the ledger. Raises CadernoError where it can't be used, or where the pipeline has no gate."""
        self.gate = gate_of(pipeline)
        self.model = pipeline.model
        self.wanted = Wanted(approvals(self.gate, pipeline.delivery), self.gate.four_eyes)
        self.project = project
        self.store = Store(project, pipeline.name)
        self.ledger = ledger_of(project)
        self.pipeline = pipeline
        self._say = say

    @cached_property
    def registry(self) -> Registry:
        """MLflow's registry, opened where it is needed: that takes seconds. Raises TrackingError."""
        return Registry(Tracking(self.project, self.pipeline.name), self.model)

    # What is.

    def standing(self) -> Standing:
        """Return how the model stands by the ledger."""
        return standing(self.ledger.rows(self.model))

    def settle(self, own: bool = False) -> Standing:
        """Return how the model stands, with MLflow's aliases made to follow; `own` if it is this command's own step.

        Raises Tampered where ledger or aliases are not what they were left as.
        """
        head = self.registry.head()
        if faults := self.ledger.faults(head):
            told = "; ".join(one.what for one in faults)
            raise Tampered(f"the ledger is not what was written: {told}", "look closer: caderno ledger verify")
        rows = self.ledger.rows(self.model)
        now, last = standing(rows), rows[-1].hash if rows else None
        moved = self._moved(now)
        if moved and head == last:
            told = "; ".join(moved)
            raise Tampered(f"moved by hand: {told}", "put back what the ledger says: caderno ledger restore")
        if moved:
            self._follow(now)
            if not own:
                row = rows[-1]
                did = f"{row.entry.action} of version {row.entry.version}, by {row.entry.who}"
                self._say(f"completed a step that was cut short: row {row.place} of the ledger, {did}")
        if last and head != last:
            self.registry.follow(last)
        return now

    def restore(self) -> list[str]:
        """Put MLflow's aliases back to what the ledger says; return what was moved."""
        with self.ledger.turn():
            now = self.standing()
            moved = self._moved(now)
            self._follow(now)
            return moved

    def _moved(self, now: Standing) -> list[str]:
        there, wanted = self.registry.aliases(), _aliases(now)
        return [
            f"the alias {alias} names {_named(there.get(alias))}, and the ledger says {_named(wanted[alias])}"
            for alias in wanted
            if there.get(alias) != wanted[alias]
        ]

    def _follow(self, now: Standing) -> None:
        there = self.registry.aliases()
        for alias, version in _aliases(now).items():
            if there.get(alias) != version:
                self.registry.point(alias, version)

    def faults(self) -> list[str]:
        """Return what is not as the ledger says, in words: its own rows, aliases, files of versions that are in use."""
        with self.ledger.turn():
            found = [f"the ledger: {one.what}" for one in self.ledger.faults(self.registry.head())]
            rows = self.ledger.rows(self.model)
            now = standing(rows)
            found += self._moved(now)
            for number in dict.fromkeys(filter(None, (now.champion, now.challenger))):
                version = now.versions[number]
                try:
                    self._intact(version)
                except CadernoError as error:
                    found.append(error.message)
        return found

    def lacking(self, number: str) -> list[str]:
        """Return what a version lacks to be promoted, in words."""
        now = self.standing()
        version = now.versions[number]
        return lacking(now, version, self.wanted, self.digests(version))

    def digests(self, version: Version) -> dict[str, str]:
        """Return the digests of what a version's decision was made on, as they are now."""
        name = str(version.decided.entry.facts["decision"]) if version.decided else ""
        folder = str(version.released.entry.facts["folder"])
        found = decisions.digests(self.project, self.pipeline.name, name, folder) if name else {}
        with contextlib.suppress(CadernoError), self.files(version) as model:
            return {**found, "files": files.digest_of(files.manifest_of(model))}
        return {**found, "files": "changed or gone"}

    def decision(self, version: Version) -> DecisionRecord | None:
        """Return the last decision on a version, where it can be read."""
        if version.decided is None:
            return None
        return decisions.read(self.project, self.pipeline.name, str(version.decided.entry.facts["decision"]))

    @contextmanager
    def files(self, version: Version) -> Iterator[Path]:
        """Give a version's files, of the result it came from, else from MLflow. Raises Tampered where they differ."""
        facts = version.released.entry.facts
        place = self.project.root / facts["folder"] / facts["output"]
        with contextlib.ExitStack() as stack:
            if not place.exists():
                place = stack.enter_context(self.registry.files(version.number))
            if different := files.differences(place, facts["files"]):
                raise Tampered(
                    f"version {version.number} of {self.model} is not what was registered: {files.shown(different)}",
                    f"its files: {self.project.relative(place)}",
                )
            yield place

    # Steps.

    def release(self, candidate: Candidate, who: Person) -> tuple[DecisionRecord, bool]:
        """Register a candidate, let the gate decide on it, and make it the challenger unless that refuses.

        Returns the decision, and whether it is a new one: the same question is not asked twice.
        """
        manifest = files.manifest_of(candidate.model)
        with self.ledger.turn():
            number = self._register(candidate, manifest, who)
            now = self.settle(own=True)
        version = now.versions[number]
        if number == now.champion:
            raise NothingNew(f"version {number}, of {candidate.record.task}, is the champion already")
        if known := self._known(candidate, version, now):
            return known, False
        digest = files.digest_of(manifest)
        champion = now.versions[now.champion] if now.champion else None
        look = now.look(digest, candidate.test_digest)
        with contextlib.ExitStack() as stack:
            model = stack.enter_context(self.files(version))
            against = stack.enter_context(self.files(champion)) if champion else None
            measured = measure(
                self.project, Question(model, against, candidate.test, candidate.record.metrics, look), self.gate
            )
        with self.ledger.turn():
            later = self.settle()
            version = later.versions[number]
            if known := self._known(candidate, version, later):  # somebody asked the same at the same time
                return known, False
            if (later.champion, later.asked) != (now.champion, now.asked):
                raise Outpaced(f"something else was decided on {self.model} meanwhile", "compare anew: caderno release")
            record = self._decision(candidate, version, champion, measured, look, who)
            decisions.save(self.project, record)
            self._write(self._decide(record, candidate, digest))
        return record, True

    def _decide(self, record: DecisionRecord, candidate: Candidate, digest: str) -> Entry:
        """Return the row of a decision: it names all that was judged and is signed by its digests."""
        found = decisions.digests(self.project, record.pipeline, record.name, record.folder)
        return Entry(
            "decide",
            self.model,
            record.version,
            record.who,
            record.why,
            digests={"files": digest, "test": candidate.test_digest, **found},
            facts={
                "decision": record.name,
                "outcome": record.outcome,
                "champion": record.champion,
                "gate": record.gate,
                "metrics": record.metrics,
                "example": record.packaged.get("example"),
            },
        )

    def automatic(self, who: Person) -> tuple[DecisionRecord, list[str]] | None:
        """Release the best candidate, promote it if nothing is missing; return the decision, and what is missing.

        None where the best candidate is the champion already. Where all is as it was, MLflow is not asked.
        """
        candidate, now = best(self.project, self.store, self.gate), self.standing()
        seen = now.champion
        same = now.of(files.digest_of(files.manifest_of(candidate.model)))
        if same and same.number == seen:
            return None
        decision = self._known(candidate, same, now) or self.release(candidate, who)[0]
        if decision.outcome != "promote":
            return decision, [f"the gate says {decision.outcome}: {decision.why}"]
        missing = self.lacking(decision.version)
        if not missing:
            self.promote(decision.version, who, "delivery is automatic, and nothing is missing", False, seen)
        return decision, missing

    def _register(self, candidate: Candidate, manifest: Mapping[str, str], who: Person) -> str:
        self.settle()
        record, digest = candidate.record, files.digest_of(manifest)
        tags = {"caderno.task": record.task, "caderno.fingerprint": record.fingerprint, "caderno.run": candidate.run}
        run_id = record.tracking.run_id if record.tracking else None
        number = self.registry.register(Source(candidate.uri, run_id), digest, tags)
        if number not in self.standing().versions:
            facts = {
                "task": record.task,
                "fingerprint": record.fingerprint,
                "run": candidate.run,
                "profile": candidate.profile,
                "folder": candidate.folder,
                "output": candidate.output,
                "uri": candidate.uri,
                "commit": record.git.commit if record.git else None,
                "dirty": record.git.dirty if record.git else None,
                "authors": list(candidate.authors),
                "files": dict(manifest),
            }
            entry = Entry("release", self.model, number, str(who), digests={"files": digest}, facts=facts)
            self.ledger.append(entry)
        return number

    def _known(self, candidate: Candidate, version: Version | None, now: Standing) -> DecisionRecord | None:
        """Return the decision on a version, if the same rules and rows and the same champion would be asked again.

        None where the packaged model failed a check: that may have been the machine's fault.
        """
        if version is None or version.decided is None:
            return None
        entry = version.decided.entry
        asked = (entry.facts["champion"], entry.facts["gate"], entry.digests["test"])
        same = asked == (now.champion, self.gate.model_dump(mode="json"), candidate.test_digest)
        known = self.decision(version) if same else None
        return None if known is None or any(one.kind == "check" for one in known.rules) else known

    def _decision(
        self,
        candidate: Candidate,
        version: Version,
        champion: Version | None,
        measured: Measured,
        look: int,
        who: Person,
    ) -> DecisionRecord:
        decided = decide(measured.evidence, rules(self.gate))
        taken = sum(
            row.entry.action == "decide" and row.entry.version == version.number for row in self.ledger.rows(self.model)
        )
        return decisions.record_of(
            name=f"{self.model}.v{version.number}.{taken + 1}",
            model=self.model,
            version=version,
            champion=champion,
            candidate=candidate,
            measured=measured,
            decided=decided,
            look=look,
            changed=self._changed(candidate, champion),
            gate=self.gate,
            wanted=self.wanted,
            who=str(who),
        )

    def _changed(self, candidate: Candidate, champion: Version | None) -> str | None:
        """Make the page of what changed since the champion's result; return where it is, None where there is none."""
        folder = self.project.root / str(champion.released.entry.facts["folder"]) if champion else None
        old = read_record(folder) if folder else None
        if folder is None or old is None or old.task != candidate.record.task:
            return None
        found = report.diff_of((old, folder), (candidate.record, self.project.root / candidate.folder))
        page = report.write_diff(self.project, found)
        return page.relative_to(page.parents[1]).as_posix()

    def sign(self, action: Action, word: str | None, who: Person, why: str) -> Version:
        """Approve or refuse a version that was decided on; what is signed are the digests of report and files."""
        with self.ledger.turn():
            now = self.settle()
            version = version_in(now, word, self.model)
            digests = self._intact(version)
            if action == "approve" and self.wanted.four_eyes and wrote(version, who):
                raise NotAllowed(
                    f"{who} is an author of version {version.number}, and four eyes are wanted",
                    "somebody else must look at it: caderno approve",
                )
            self._write(Entry(action, self.model, version.number, str(who), why, digests=digests))
        return version

    def promote(self, word: str | None, who: Person, why: str, emergency: bool, seen: str | None) -> Version:
        """Make a version the champion; `seen` is the champion that the caller knows of.

        Raises NotAllowed with all that is missing, unless it is an emergency; Outpaced where another was quicker.
        """
        with self.ledger.turn():
            now = self.settle()
            if now.champion != seen:
                raise Outpaced(f"the champion is {_named(now.champion)} by now, not {_named(seen)}", "caderno history")
            version = version_in(now, word, self.model)
            if version.number == now.champion:
                raise CadernoError(f"version {version.number} is the champion already")
            with self.files(version):
                missing = lacking(now, version, self.wanted, self.digests(version))
            if missing and not emergency:
                hint = "in an emergency: caderno promote --emergency --why REASON; it is marked as such for ever"
                listed = "".join(f"\n  - {one}" for one in missing)
                raise NotAllowed(f"version {version.number} can't be promoted:{listed}", hint)
            facts = {"emergency": True, "lacking": missing} if emergency else {}
            self._change("promote", now, version, who, why, facts)
        return version

    def rollback(self, word: str | None, who: Person, why: str) -> Version:
        """Make an earlier champion the champion again: the one before, or the one named."""
        with self.ledger.turn():
            now = self.settle()
            if word is None and len(now.line) < 2:  # the champion, and one before it
                raise CadernoError(
                    f"{self.model} has no champion before {_named(now.champion)}", "caderno history; --to VERSION"
                )
            version = version_in(now, word or now.line[-2], self.model)
            if version.number == now.champion:
                raise CadernoError(f"version {version.number} is the champion already")
            if version.number not in now.champions:
                raise NotAllowed(
                    f"version {version.number} has never been champion: that is a promotion, not a rollback",
                    f"caderno promote {version.number}; these have been: {', '.join(sorted(now.champions, key=int))}",
                )
            with self.files(version):
                self._change("rollback", now, version, who, why, {})
        return version

    def _change(
        self, action: Action, now: Standing, version: Version, who: Person, why: str, facts: Mapping[str, Any]
    ) -> None:
        entry = Entry(
            action,
            self.model,
            version.number,
            str(who),
            why,
            old=now.champion,
            new=version.number,
            digests=version.released.entry.digests,
            facts=facts,
        )
        self._write(entry)

    def _write(self, entry: Entry) -> None:
        """Write a row, and let the aliases follow."""
        row = self.ledger.append(entry)
        self._show()
        try:
            self.settle(own=True)
        except TrackingError as error:
            raise TrackingError(
                f"row {row.place} of the ledger is written, and MLflow's aliases do not follow yet: {error.message}",
                "they follow with the next command: caderno models",
            ) from None

    def _show(self) -> None:
        """Renew the pages that tell of this model: a disk that refuses them does not undo a step."""
        try:
            pages.write(self.project, self.pipeline.name, self.model, self.ledger.rows(self.model))
        except OSError as error:
            self._say(f"reports/ can't be written ({error.strerror}); later: caderno report")

    def _intact(self, version: Version) -> dict[str, str]:
        """Return the digests of a version's decision and files. Raises Tampered where they are not what they were."""
        if version.decided is None:
            raise NotAllowed(f"the gate has not decided on version {version.number}", "caderno release")
        with self.files(version):
            found = self.digests(version)
        if changed := [name for name, was in version.decided.entry.digests.items() if found.get(name, was) != was]:
            raise Tampered(
                f"the {' and the '.join(changed)} of version {version.number} differ from what was decided on",
                "decide anew on what is there: caderno run, then caderno release",
            )
        return found


def _aliases(now: Standing) -> dict[Alias, str | None]:
    """Return which version each alias must name."""
    return {"champion": now.champion, "challenger": now.challenger}


def _named(version: str | None) -> str:
    return f"version {version}" if version else "none"
