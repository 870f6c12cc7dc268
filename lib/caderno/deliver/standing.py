"""How a model stands, read from the rows of the ledger; and what a version lacks to be promoted. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from caderno.deliver.ledger import Row
from caderno.errors import CadernoError
from caderno.run.provenance import git

Digests = Mapping[str, str]


@dataclass(frozen=True)
class Person:
    """Who acts. Names are asserted, by git's configuration or on the command line: they prove nothing by themselves."""

    name: str
    mail: str = ""

    @classmethod
    def read(cls, text: str) -> Person:
        """Return the person that `Name <mail>` names; either part may be missing."""
        name, _, mail = text.partition("<")
        mail = mail.rstrip("> ").strip()
        return cls(name.strip() or mail, mail)

    def __str__(self) -> str:
        return f"{self.name} <{self.mail}>" if self.mail else self.name

    def is_(self, other: Person) -> bool:
        """Whether both are one person: of equal mail address, or of equal name where one has no address."""
        if self.mail and other.mail:
            return self.mail.lower() == other.mail.lower()
        return self.name.lower() == other.name.lower()


def whoami(root: Path) -> Person:
    """Return who git says that one is. Raises CadernoError where it does not say."""
    name, mail = (git(root, "config", f"user.{key}") for key in ("name", "email"))
    if not (name or mail):
        raise CadernoError(
            "the ledger must say who acts, and git does not know",
            "--as 'NAME <MAIL>', or git config user.name and user.email",
        )
    return Person(name or mail, mail)


@dataclass(frozen=True)
class Version:
    """A version of the model: its release, its last decision, and who signed since, the latest of each person."""

    released: Row
    decided: Row | None = None
    signed: tuple[Row, ...] = ()

    @property
    def number(self) -> str:
        """The number in MLflow's registry."""
        return self.released.entry.version

    @property
    def outcome(self) -> str:
        """What the gate said last: promote, hold or refuse; "" before it said anything."""
        return str(self.decided.entry.facts["outcome"]) if self.decided else ""

    @property
    def authors(self) -> list[Person]:
        """Who wrote what the model was trained by: the commit's author, and who ran it if files differed from that."""
        return [Person.read(str(one)) for one in self.released.entry.facts["authors"]]


@dataclass(frozen=True)
class Standing:
    """The versions by number; which are champion and challenger; all that were ever champion.

    `line` are those that the present champion, its last, followed: what was rolled back from is not among them.
    `asked` are the questions put to the gate since this champion reigns: (digest of the candidate's files, of the test
    rows), without repetitions.
    """

    versions: Mapping[str, Version] = field(default_factory=dict)
    champion: str | None = None
    challenger: str | None = None
    champions: frozenset[str] = frozenset()
    line: tuple[str, ...] = ()
    asked: tuple[tuple[str, str], ...] = ()

    def of(self, files: str) -> Version | None:
        """Return the version with these files, by their digest."""
        return next((one for one in self.versions.values() if one.released.entry.digests["files"] == files), None)

    def look(self, files: str, rows: str) -> int:
        """Return the how many-th question to this champion this is, from 1; one that was asked keeps its place."""
        question = (files, rows)
        return self.asked.index(question) + 1 if question in self.asked else len(self.asked) + 1


def standing(rows: Sequence[Row]) -> Standing:
    """Return how the model stands after these rows, all of one model, the oldest first."""
    now = Standing()
    for row in rows:
        now = _after(now, row)
    return now


def _after(now: Standing, row: Row) -> Standing:
    entry, number = row.entry, row.entry.version
    match entry.action:
        case "release":
            return replace(now, versions={**now.versions, number: Version(row)})
        case "decide":
            version = replace(now.versions[number], decided=row, signed=())
            question = (entry.digests["files"], entry.digests["test"])
            asked = now.asked if question in now.asked else (*now.asked, question)
            versions = {**now.versions, number: version}
            return replace(now, versions=versions, challenger=_challenger(now, row), asked=asked)
        case "approve" | "refuse":
            who = Person.read(entry.who)
            others = tuple(one for one in now.versions[number].signed if not Person.read(one.entry.who).is_(who))
            version = replace(now.versions[number], signed=(*others, row))
            return replace(now, versions={**now.versions, number: version}, challenger=_challenger(now, row))
        case "promote" | "rollback":
            line = (*now.line, number)
            if entry.action == "rollback" and number in now.line:
                line = now.line[: now.line.index(number) + 1]
            champions = now.champions | {number}
            challenger = _challenger(now, row)
            return replace(now, champion=number, champions=champions, line=line, challenger=challenger, asked=())


def _challenger(now: Standing, row: Row) -> str | None:
    """Who challenges: the version decided on last, if neither gate nor person refused it and it does not reign."""
    number = row.entry.version
    if row.entry.action == "decide" and row.entry.facts["outcome"] != "refuse" and number != now.champion:
        return number
    gone = row.entry.action in ("decide", "refuse", "promote", "rollback")
    return None if gone and now.challenger == number else now.challenger


@dataclass(frozen=True)
class Wanted:
    """What the pipeline's gate asks of people: how many approvals, and whether the author's own counts."""

    approvals: int
    four_eyes: bool


def lacking(now: Standing, version: Version, wanted: Wanted, digests: Digests) -> list[str]:
    """Return what a version lacks to be promoted, in words; `digests` are those of its report and files as they are."""
    if version.decided is None:
        return ["the gate has not decided on it"]
    found = []
    facts = version.decided.entry.facts
    if facts.get("champion") != now.champion:
        found.append(
            f"it was compared with {_named(facts.get('champion'))}, and the champion is {_named(now.champion)} by now"
        )
    if version.outcome != "promote":
        found.append(f"the gate says {version.outcome}: {version.decided.entry.why}")
    changed = [name for name, digest in version.decided.entry.digests.items() if digests.get(name, digest) != digest]
    found += [f"its {name} differs from what was decided on" for name in changed]
    found += [f"{row.entry.who} refused it: {row.entry.why}" for row in version.signed if row.entry.action == "refuse"]
    approvals = [row for row in version.signed if row.entry.action == "approve"]
    good, void = [], []
    for row in approvals:
        reason = _void(row, version, wanted, digests)
        if reason:
            void.append(f"the approval of {row.entry.who} is void: {reason}")
        else:
            good.append(row)
    if len(good) < wanted.approvals:
        more = wanted.approvals - len(good)
        found += [*void, f"{more} approval{'s' * (more > 1)} of {wanted.approvals} missing"]
    return found


def _void(row: Row, version: Version, wanted: Wanted, digests: Digests) -> str:
    """Return why an approval does not count, or nothing."""
    differing = [name for name, digest in row.entry.digests.items() if digests.get(name) != digest]
    if differing:
        return f"the {' and the '.join(differing)} differ from what was signed"
    if wanted.four_eyes and wrote(version, Person.read(row.entry.who)):
        return "it is the author's own, and four eyes are wanted"
    return ""


def wrote(version: Version, who: Person) -> bool:
    """Whether this person is an author of what the model was trained by."""
    return any(author.is_(who) for author in version.authors)


def _named(version: str | None) -> str:
    return f"version {version}" if version else "none"
