"""Does what a Containerfile says, in folders that are changed into as root: for machines without a container engine.

A stage is a folder with a whole file system; `FROM debian:SUITE-slim` is what debootstrap makes. Nothing is cached,
and there are no layers. Of the machine around, a stage gets the ways to packages: names, certificates, settings of apt
and pip.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

LOOPBACK = """
import fcntl, os, socket, struct, sys
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh22x", b"lo", 0x49))  # SIOCSIFFLAGS: up, loopback, running
os.execvp(sys.argv[1], sys.argv[1:])
"""
LENT = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/xdg/pip", "/etc/apt/apt.conf.d")
CERTIFICATES, LENT_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt"), "/etc/lent-certificates.crt"


@dataclass
class Image:
    """A stage: its file system, and what its instructions say of the processes in it."""

    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    user: str = "root"
    folder: str = "/"
    entry: list[str] = field(default_factory=list)
    cmd: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    def command(self, words: list[str], network: bool = False) -> list[str]:
        """Return the command that runs `words` in here: with processes of its own, and no network but itself."""
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={self.root}/proc"]
        if not network:
            apart += ["--net", sys.executable, "-c", LOOPBACK]
        inside = ["env", "-i", *(f"{name}={value}" for name, value in self.env.items())]
        inside += ["sh", "-c", 'cd "$0" && exec "$@"', self.folder, *words]
        return [*apart, "chroot", f"--userspec={self.user}", str(self.root), *inside]


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Containerfile, continued lines joined: [("FROM", "debian:trixie-slim AS base")]."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def build(containerfile: Path, work: Path, log: Path) -> dict[str, Image]:
    """Make every stage under `work` from the folder that `containerfile` stands in; return them by name."""
    images: dict[str, Image] = {}
    for word, rest in instructions(containerfile.read_text()):
        if word == "FROM":
            base, _, name = rest.split()
            image = images[name] = _from(base, images, work / name, log)
        else:
            _do(image, word, rest, images, containerfile.parent, log)
    return images


def _from(base: str, images: dict[str, Image], root: Path, log: Path) -> Image:
    if base in images:
        below = images[base]
        _run(["cp", "-a", str(below.root), str(root)], log)
        return Image(root, dict(below.env), below.user, below.folder, below.entry, below.cmd, below.healthcheck)
    named = re.fullmatch(r"debian:(\w+)-slim", base)
    assert named, f"only Debian can be made here, not {base}"
    _run(["debootstrap", "--variant=minbase", named[1], str(root)], log)
    for path in map(Path, LENT):
        if path.exists():
            target = root / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if path.is_dir() else shutil.copy)(
                path, target, **({"dirs_exist_ok": True} if path.is_dir() else {})
            )
    if CERTIFICATES.exists():
        shutil.copy(CERTIFICATES, root / LENT_CERTIFICATES.lstrip("/"))  # a package would make the file anew
    return Image(root)


def _do(image: Image, word: str, rest: str, images: dict[str, Image], context: Path, log: Path) -> None:
    match word:
        case "RUN":
            ways = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
            if (image.root / LENT_CERTIFICATES.lstrip("/")).exists():
                ways |= dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE"), LENT_CERTIFICATES)
            _run(replace(image, env={**ways, **image.env}).command(["/bin/sh", "-ec", rest], network=True), log)
        case "COPY":
            _copy(image, rest, images, context)
        case "ENV":
            image.env |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        case "WORKDIR":
            image.folder = rest
            (image.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        case "USER":
            image.user = rest
        case "ENTRYPOINT":
            image.entry = json.loads(rest)
        case "CMD":
            image.cmd = json.loads(rest)
        case "HEALTHCHECK":
            image.healthcheck = json.loads(rest[rest.index("[") :])
        case "EXPOSE":
            pass
        case _:
            raise AssertionError(f"{word} is not known here")


def _copy(image: Image, rest: str, images: dict[str, Image], context: Path) -> None:
    words = rest.split()
    origin = images[words.pop(0).removeprefix("--from=")].root if words[0].startswith("--from=") else context
    *sources, to = words
    target = image.root / to.lstrip("/") if to.startswith("/") else image.root / image.folder.lstrip("/") / to
    for source in (origin / source.lstrip("/") for source in sources):
        if source.is_dir():  # its content
            shutil.copytree(
                source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
            )
        else:
            into = target / source.name if to.endswith("/") else target
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, into)


def _run(command: list[str], log: Path) -> None:
    with log.open("a") as out:
        out.write(f"$ {shlex.join(command)}\n")
        out.flush()
        done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n" + log.read_text()[-3000:]
