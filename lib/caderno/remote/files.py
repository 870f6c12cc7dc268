"""Results in a shared folder, or under a URL that fsspec knows: s3://bucket/prefix, gs://…, memory://….

    <pipeline>/<task>/<fingerprint>.json        the parcel, written last
    <pipeline>/<task>/<fingerprint>/<digest>    its files

A file is named by its SHA-256, so two machines that compute the same task at once never mix their files: the parcel
names either's. A result is removed by removing its parcel, then its folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from caderno.errors import CadernoError, RemoteAway, RemoteError, Stopped, did_you_mean
from caderno.plan.environment import masked
from caderno.plan.records import TaskRecord

_CHUNK = 16_000_000  # bytes of a file that are asked for at once: what a broken connection may cost
_REFUSED = re.compile(r"credential|access ?denied|forbidden|unauthorized|signature|expiredtoken|invalidaccesskey", re.I)
_SILENCE = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}
# What a protocol is told beside what the user's fsspec configuration says: else a dead server is waited for by minutes.
_OPTIONS: Mapping[str, Mapping[str, Any]] = {"s3": {"config_kwargs": _SILENCE}, "s3a": {"config_kwargs": _SILENCE}}


class Files:
    """A place for results of `pipeline`; a folder's path is relative to `root`.

    Raises RemoteError where the URL is of no known kind, or what speaks its protocol is not installed.
    """

    def __init__(self, url: str, pipeline: str, root: Path) -> None:
        import fsspec  # only where something is asked for or sent

        self.shown = masked(url)
        self._folder = None if "://" in url else root / Path(url).expanduser()
        protocol = "file" if self._folder else url.partition("://")[0].rpartition("::")[2]
        try:
            kind = fsspec.get_filesystem_class(protocol)
        except ValueError:
            known = did_you_mean(protocol, fsspec.available_protocols(), "protocol")
            raise RemoteError(f"remote {self.shown}: nothing known is called {protocol}://", known) from None
        except ImportError as error:
            raise RemoteError(
                f"remote {self.shown}: {_driver(protocol)} is not installed", _hint(protocol, error)
            ) from None
        set_by_user = fsspec.config.conf.get(protocol, {})
        options = {name: value for name, value in _OPTIONS.get(protocol, {}).items() if name not in set_by_user}
        with _told(self.shown):
            self._fs, path = fsspec.url_to_fs(
                str(self._folder or url), skip_instance_cache=True, use_listings_cache=False, **options
            )
        self._local = kind.protocol in ("file", ("file", "local"))
        self._top = path.rstrip("/")
        self._is_there = False
        self._root = f"{self._top}/{pipeline}"

    def listed(self, task: str) -> Set[str]:
        """Return the fingerprints of which there is a parcel."""
        names = self._names(f"{self._root}/{task}")
        return {name.removesuffix(".json") for name in names if name.endswith(".json")}

    def read(self, task: str, fingerprint: str, most: int) -> bytes | None:
        """Return a parcel, at most so many bytes of it; None where there is none."""
        with _told(self.shown), contextlib.suppress(FileNotFoundError):
            return bytes(self._fs.cat_file(self._parcel(task, fingerprint), start=0, end=most))
        return None

    def fetch(
        self, task: str, fingerprint: str, digest: str, target: Path, size: int, given_up: Callable[[], bool]
    ) -> None:
        """Bring a file to `target`, going on where that stops."""
        source = f"{self._root}/{task}/{fingerprint}/{digest}"
        with target.open("ab") as file:
            while (at := file.tell()) < size:
                if given_up():
                    raise Stopped("stopped while results were fetched")
                end = min(at + _CHUNK, size)
                with _told(self.shown):
                    chunk = self._cut(source, at, end)
                file.write(chunk[: end - at])
                if len(chunk) < end - at:
                    return  # it is shorter than the parcel says

    def there(self, record: TaskRecord) -> dict[str, int]:
        """Return the files of a result that are there already, by digest, with their sizes."""
        return self._names(f"{self._root}/{_name(record)}/{record.fingerprint}")

    def put(self, record: TaskRecord, digest: str, source: Path) -> None:
        """Keep a file of a result."""
        target = f"{self._root}/{_name(record)}/{record.fingerprint}/{digest}"
        self._write(target, lambda path: self._fs.put_file(str(source), path))

    def seal(self, record: TaskRecord, parcel: bytes) -> None:
        """Keep the parcel of a result whose files are all there."""
        target = self._parcel(_name(record), record.fingerprint)
        self._write(target, lambda path: self._fs.pipe_file(path, parcel))

    def _parcel(self, task: str, fingerprint: str) -> str:
        return f"{self._root}/{task}/{fingerprint}.json"

    def _cut(self, source: str, start: int, end: int) -> bytes:
        """Return bytes of a file; none where it ends before them."""
        try:
            return bytes(self._fs.cat_file(source, start=start, end=end))
        except OSError as error:
            if error.errno == errno.EINVAL:  # how S3 says so
                return b""
            raise

    def _names(self, folder: str) -> dict[str, int]:
        """Return what stands in a folder, with sizes; nothing where it is not there."""
        with _told(self.shown):
            try:
                self._fs.invalidate_cache()
                found = self._fs.ls(folder, detail=True)
            except FileNotFoundError:
                self._check_top()
                return {}
        return {str(one["name"]).rstrip("/").rpartition("/")[2]: int(one.get("size") or 0) for one in found}

    def _check_top(self) -> None:
        """A shared folder that is not there is one that is not mounted: it is not made here in its place."""
        if self._local and not Path(self._top).is_dir():
            raise RemoteAway(f"remote {self.shown} is not there: make the folder, or mount it")
        bucket = self._top.split("/")[0]
        if self._local or not bucket or self._is_there:
            return
        if not self._fs.exists(bucket):
            raise RemoteError(
                f"remote {self.shown}: there is no {bucket}", "make it, mend the URL, or run with --no-remote"
            )
        self._is_there = True

    def _write(self, target: str, write: Callable[[str], None]) -> None:
        """Let `write` make a file, which nobody sees in part: elsewhere than in a folder the protocol sees to that."""
        with _told(self.shown):
            if not self._local:
                write(target)
                return
            self._check_top()
            path = Path(target)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
            try:
                write(str(temporary))
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)


def _name(record: TaskRecord) -> str:
    """Return the name of a record's task in the pipeline file."""
    return record.task.partition("[")[0]


def _driver(protocol: str) -> str:
    """Return the package that speaks a protocol."""
    from fsspec.registry import known_implementations

    module = str(known_implementations.get(protocol, {}).get("class", protocol)).partition(".")[0]
    return f"what speaks {protocol}://" if module == "fsspec" else module


def _hint(protocol: str, error: ImportError) -> str:
    driver = _driver(protocol)
    return f"pip install {driver}" if " " not in driver else str(error)


@contextmanager
def _told(shown: str) -> Iterator[None]:
    """Turn what any protocol raises into RemoteAway where it does not answer, else RemoteError."""
    try:
        yield
    except CadernoError:
        raise
    except FileNotFoundError as error:
        raise RemoteError(f"remote {shown}: {error.filename or error} is not there") from None
    except Exception as error:  # each driver has a tree of errors of its own
        text = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        if isinstance(error, PermissionError) or _REFUSED.search(f"{type(error).__name__} {text}"):
            raise RemoteError(f"remote {shown} refuses: {text}", "check its credentials, or --no-remote") from None
        raise RemoteAway(f"remote {shown} does not answer: {text}") from None
