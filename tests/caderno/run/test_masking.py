from __future__ import annotations

import pytest
from workshop import Workshop

from caderno.plan.environment import is_secret, masked, recorded
from caderno.run.masking import Mask

TOKEN = 's3cr3t "value" of ours'


@pytest.mark.parametrize("name", ["API_TOKEN", "DB_PASSWORD", "my_secret", "AWS_SECRET_ACCESS_KEY", "APIKEY", "PG_PWD"])
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["PWD", "OLDPWD", "HOME", "REGION", "PASSAGE"])
def test_other_names_are_not(name: str) -> None:
    assert not is_secret(name)


def test_a_secret_is_hidden_raw_and_in_json_and_so_is_a_password_in_a_url() -> None:
    mask = Mask.of({"API_TOKEN": TOKEN, "URL": "postgresql://u:p@host/db", "NO_TOKEN": "on"}, ["http://a:hunter22@b/"])
    assert mask.text(f"{TOKEN} on") == "*** on"
    assert mask.text('"s3cr3t \\"value\\" of ours"') == '"***"'
    assert mask.text("postgresql://u:p@host/db and p") == "postgresql://u:***@host/db and p"
    assert mask.text("hunter22") == "***"


def test_a_record_tells_a_changed_secret_but_not_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", TOKEN)
    monkeypatch.setenv("REGION", "here")
    first = recorded(["API_TOKEN", "REGION", "CADERNO_NOT_SET"])
    assert first["REGION"] == "here"
    assert first["CADERNO_NOT_SET"] is None
    assert TOKEN not in str(first)
    monkeypatch.setenv("API_TOKEN", "another value")
    assert recorded(["API_TOKEN"])["API_TOKEN"] != first["API_TOKEN"]


def test_a_uri_without_a_password_stays() -> None:
    assert [masked(uri) for uri in ("http://u@h/", "a@b", "http://[h/@")] == ["http://u@h/", "a@b", "http://[h/@"]


def test_a_listed_variable_counts_and_others_do_not(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.notebook("one.ipynb", None, "x = 1")
    shop.pipeline("one: {notebook: one.ipynb, env: [REGION]}", head="env: [ZONE]\n")
    monkeypatch.setenv("REGION", "a")
    shop.settle()
    monkeypatch.setenv("OTHER", "b")
    assert shop.states() == {"one": "cached"}
    monkeypatch.setenv("REGION", "b")
    assert shop.why("one") == "environment variable REGION a → b"
    monkeypatch.setenv("REGION", "a")
    monkeypatch.setenv("ZONE", "z")
    assert shop.why("one") == "environment variable ZONE (none) → z"


def test_a_name_that_is_none_is_told(shop: Workshop) -> None:
    shop.notebook("one.ipynb", None, "x = 1")
    shop.pipeline("one: {notebook: one.ipynb, env: ['A B']}")
    done = shop.caderno("plan")
    assert done.code == 2
    assert "'A B' is no name of an environment variable" in done


@pytest.mark.kernel
def test_a_secret_stands_nowhere_that_a_run_leaves_behind(shop: Workshop) -> None:
    shop.notebook(
        "one.ipynb",
        'database: str = ""',
        "import os\nprint(os.environ['API_TOKEN'], database)",
        "raise ValueError(os.environ['API_TOKEN'])",
    )
    shop.pipeline(
        "one: {notebook: one.ipynb, inputs: {database: 'postgresql://ada:hunter22@host/db'}, env: [API_TOKEN]}"
    )
    done = shop.caderno("run", env={"API_TOKEN": "s3cr3t-value"})
    assert done.code == 1
    assert "ValueError: ***" in done
    for folder in ("data", "reports", "mlartifacts"):
        for path in (shop.root / folder).rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert b"s3cr3t-value" not in content, path
                assert b"hunter22" not in content, path
    assert "postgresql://ada:***@host/db" in (shop.root / "data/tiny/one/failed/notebook.ipynb").read_text()
    params = shop.mlflow_runs()[-1].data.params
    assert "hunter22" not in str(params)
