"""Two machines that share results: projects with separate folders, and places that both reach."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
from servers import free_port
from workshop import NOTE, Workshop, until

from caderno.plan.records import TaskRecord
from caderno.remote import Elsewhere, Files

_SERVER = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', sys.argv[1]])"
KEYS = {"AWS_ACCESS_KEY_ID": "caderno", "AWS_SECRET_ACCESS_KEY": "caderno-caderno", "AWS_DEFAULT_REGION": "us-east-1"}
STAGES = {
    "lib/tools.py": "def double(x):\n    return 2 * x\n\n\ndef shout(text):\n    return text.upper()\n",
    "pipeline": """
        first: {notebook: first.ipynb, outputs: {made: made.txt}}
        second: {notebook: second.ipynb, matrix: {side: [left, right]}, inputs: {made: first.made}, outputs: {out: out}}
        third: {notebook: third.ipynb, inputs: {parts: second.out}, outputs: {report: report.txt}}
    """,
}


class S3:
    """A real S3 server, moto's, with one bucket; what it holds ends with it."""

    def __init__(self, folder: Path) -> None:
        for module, package in (("moto.server", "'moto[s3]' flask-cors"), ("s3fs", "s3fs")):
            pytest.importorskip(module, reason=f"pip install {package}")
        self._log = folder / "s3.log"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.variables = KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}"}
        self.url = "s3://team/results"

    def start(self) -> None:
        """Start it with an empty bucket, and wait until that is there."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-c", _SERVER, str(self._port)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **KEYS})
        until(self._answers, 60, "the S3 server does not answer")
        self.fs().mkdir("team")

    def stop(self) -> None:
        """Kill it."""
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def pause(self) -> None:
        """Let it answer nothing until `resume`; what it holds stays."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def fs(self):  # s3fs may not be there
        """Return its files as fsspec shows them, never from a cache."""
        import s3fs

        return s3fs.S3FileSystem(
            key=KEYS["AWS_ACCESS_KEY_ID"],
            secret=KEYS["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=self.variables["AWS_ENDPOINT_URL"],
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    def requests(self) -> list[str]:
        """Return the requests that it has answered, in order: "GET /team/results/…"."""
        lines = self._log.read_text().splitlines()
        return [line.split('"')[1].rpartition(" ")[0] for line in lines if '" ' in line and "HTTP/1" in line]

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urlopen(self.variables["AWS_ENDPOINT_URL"], timeout=1):
                return True
        except HTTPError:
            return True
        except (URLError, OSError):
            return False


@dataclass(frozen=True)
class Shared:
    """A place that both machines reach: what names it, and the variables that it takes."""

    url: str
    variables: Mapping[str, str]

    def joined(self, shop: Workshop) -> Workshop:
        """Return a project that uses it."""
        return replace(shop, variables={**shop.variables, **self.variables, "CADERNO_REMOTE": self.url})

    def elsewhere(self, shop: Workshop) -> Elsewhere:
        """Return the same for this process, which must have the variables."""
        return Elsewhere("tiny", self.url, lambda: Files(self.url, "tiny", shop.root))


def staged(shop: Workshop) -> Workshop:
    """Give a project three stages, of which the second is a matrix; the first two use a helper each."""
    shop.write("lib/tools.py", STAGES["lib/tools.py"])
    first = "from tools import double\nPath(made).write_text(str(double(number)))"
    shop.notebook("first.ipynb", "number: int = 3\nmade: str = 'made.txt'", NOTE, "note('first')", first)
    second = """
        from tools import shout
        Path(out, 'deep').mkdir(parents=True)
        Path(out, 'b.txt').write_text(shout(side))
        Path(out, 'deep', 'a.txt').write_text(Path(made).read_text())
        Path(out, 'deep', 'empty').touch()
    """
    shop.notebook("second.ipynb", "side: str = ''\nmade: str = ''\nout: str = 'out'", NOTE, "note(side)", second)
    third = "Path(report).write_text(' '.join(sorted(Path(part, 'b.txt').read_text() for part in parts)))"
    shop.notebook("third.ipynb", "parts: list = []\nreport: str = 'report.txt'", NOTE, "note('third')", third)
    shop.pipeline(STAGES["pipeline"])
    return shop


def outputs(shop: Workshop) -> dict[str, str]:
    """Return the digests of all outputs of all results, as the disk has them, by task and name."""
    from caderno.plan.digests import of_path

    found = {}
    for place, record in shop.store.every():
        for name, output in record.outputs.items():
            digest, size = of_path(place / output.path)
            assert (digest, size) == (output.digest, output.size), f"{record.task}.{name} is not what its record says"
            found[f"{record.task}.{name}"] = digest
    return found


def settled(shop: Workshop, content: bytes) -> list[tuple[Path, TaskRecord]]:
    """Give each task a result with `content` in its outputs, as if computed: without a kernel."""
    shop.settle(lambda task: task.encode() + content)
    found = list(shop.store.every())
    for place, record in found:
        shutil.copy(shop.root / record.notebook, place / "notebook.ipynb")
    return found
