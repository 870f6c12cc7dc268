"""A model that another machine trained is delivered, and built once more, like one's own."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from deliveries import project
from remotes import Shared, outputs
from workshop import NewShop

pytestmark = pytest.mark.kernel


@pytest.mark.slow
def test_a_fetched_candidate_is_released_and_a_fetched_result_verified(tmp_path: Path, new_shop: NewShop) -> None:
    shared = Shared(str(tmp_path), {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"})
    one, two, alone = (shared.joined(new_shop()) for _ in range(3))
    project(one)
    for other in (two, alone):
        shutil.copytree(one.root, other.root, dirs_exist_ok=True)  # the same commit
    alone = replace(alone, variables={k: v for k, v in alone.variables.items() if not k.startswith("MLFLOW")})
    for shop in (one, two, alone):
        done = shop.caderno("run")
        assert done.code == 0, done.out
    for shop in (two, alone):
        assert set(shop.run_states().values()) == {"fetched"}
        assert outputs(shop) == outputs(one)
    done = two.caderno("release")
    assert done.code == 0, done.out
    assert "promote" in done
    done = alone.caderno("release")
    assert done.code == 2, done.out
    assert "is not in this MLflow: its result was fetched" in done
    done = two.caderno("verify", "data")
    assert done.code == 0, done.out
    assert "equal" in done
