"""Places that two machines share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from remotes import S3, Shared
from workshop import NewShop, Workshop


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A running S3 server."""
    found = S3(tmp_path_factory.mktemp("s3"))
    found.start()
    yield found
    found.stop()


@pytest.fixture(params=[pytest.param("folder", marks=pytest.mark.slow), "s3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shared:
    """A shared folder, and a prefix of its own in a bucket."""
    if request.param == "folder":
        (tmp_path / "a share").mkdir()
        return Shared(str(tmp_path / "a share"), {})
    server: S3 = request.getfixturevalue("s3")
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return Shared(f"{server.url}/{abs(hash(tmp_path))}", server.variables)


@pytest.fixture
def machines(shared: Shared, new_shop: NewShop) -> Callable[[Callable[[Workshop], Workshop]], list[Workshop]]:
    """Makes two equal projects that use the place."""
    return lambda build: [shared.joined(build(new_shop())) for _ in range(2)]
