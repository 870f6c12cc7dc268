"""What others run of this project: MLproject, the workflow and the Jenkinsfile, the Containerfile."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.projects import env_type
from mlflow.projects._project_spec import load_project
from mlflow.utils.environment import _PythonEnv

sys.path.insert(0, str(Path(__file__).parent / "tools"))
from containers import build, instructions

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github/workflows/ci.yml"
JENKINS = ROOT / "Jenkinsfile"
ADA, BEA = ("--as", "Ada <ada@example.org>"), ("--as", "Bea <bea@example.org>")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))


def workflow() -> dict[str, Any]:
    return yaml.safe_load(WORKFLOW.read_text())  # type: ignore[no-any-return]


def of_workflow() -> list[tuple[str, str]]:
    """The steps that run something, with their jobs, each job after those that it needs."""
    jobs, ordered = workflow()["jobs"], list[str]()
    while left := [name for name in jobs if name not in ordered]:
        ordered.append(next(name for name in left if set(jobs[name].get("needs", "").split()) <= set(ordered)))
    return [(name, step["run"]) for name in ordered for step in jobs[name]["steps"] if "run" in step]


def of_jenkins() -> list[tuple[str, str]]:
    """The shell steps, with their stages."""
    found, stage = list[tuple[str, str]](), ""
    for line in JENKINS.read_text().splitlines():
        if named := re.search(r"\bstage\('(\w+)'\)", line):
            stage = named[1]
        if shell := re.search(r"\bsh '([^']*)'", line):
            found.append((stage, shell[1]))
    return found


class TestContinuousDelivery:
    def test_both_have_the_same_steps_in_the_same_order(self) -> None:
        assert of_workflow() == of_jenkins()
        assert [name for name, _ in dict.fromkeys((name, "") for name, _ in of_jenkins())] == [
            *("check", "release", "promote"),
        ]

    def test_every_step_is_a_make_target_that_there_is(self) -> None:
        for _, command in of_workflow():
            word, *names = command.split()
            assert word == "make", command
            assert {name for name in names if "=" not in name} <= targets(), command

    def test_the_jenkinsfile_closes_what_it_opens(self) -> None:
        text = re.sub(r"//[^\n]*|'[^']*'", "", JENKINS.read_text())
        opened: list[str] = []
        for sign in re.findall(r"[][(){}]", text):
            if sign in "[({":
                opened.append({"[": "]", "(": ")", "{": "}"}[sign])
            else:
                assert opened.pop() == sign
        assert not opened
        assert text.startswith("\npipeline {")

    def test_only_the_last_job_needs_a_persons_word_and_only_main_is_released(self) -> None:
        jobs = workflow()["jobs"]
        assert [name for name, job in jobs.items() if "environment" in job] == ["promote"]
        assert "refs/heads/main" in jobs["release"]["if"]
        assert jobs["promote"]["needs"] == "release"
        stages = re.split(r"\bstage\('", JENKINS.read_text())[1:]
        assert [stage.partition("'")[0] for stage in stages if re.search(r"^\s*input ", stage, re.M)] == ["promote"]
        assert [stage.partition("'")[0] for stage in stages if "branch 'main'" in stage] == ["release", "promote"]

    def test_a_machine_without_a_name_says_who_acts(self) -> None:
        said = subprocess.run(
            ["make", "-n", "release", "promote", f"BIN={ROOT / '.venv/bin'}", "READY=Makefile"],
            cwd=ROOT,
            env=environment(AS="Ada's <ada@example.org>"),
            capture_output=True,
            text=True,
            check=True,
        )
        assert re.findall(r'caderno (\w+) --as "\$AS"', said.stdout) == ["release", "promote"]
        assert all("AS" in workflow()["jobs"][name]["env"] for name in ("release", "promote"))
        assert re.findall(r"\bAS = |'AS'", JENKINS.read_text()) == ["AS = ", "'AS'"]

    def test_what_one_job_packs_the_next_one_has(self, tmp_path: Path) -> None:
        here, there = tmp_path / "here", tmp_path / "there"
        for folder in (here, there):
            folder.mkdir()
            shutil.copy(ROOT / "Makefile", folder)
        kept = ["data/flights/.decisions/flights.v1.1/decision.json", "data/flights/train/abc/task.json"]
        kept += ["data/ledger.db", "reports/index.html"]
        for name in [*kept, "data/sources/registry.db"]:
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            (here / name).write_text(name)
        (here / "data/flights/train/latest").symlink_to("abc")
        subprocess.run(["make", "pack"], cwd=here, check=True, capture_output=True)
        shutil.move(here / "delivery.tar", there)
        subprocess.run(["make", "unpack"], cwd=there, check=True, capture_output=True)
        assert [(there / name).read_text() for name in kept] == kept
        assert (there / "data/flights/train/latest").readlink() == Path("abc")
        assert not (there / "data/sources").exists()


class TestProject:
    def test_mlflow_reads_it(self) -> None:
        project = load_project(ROOT)
        assert project.env_type == env_type.CONDA
        for name in ("run", "task", "serve"):
            assert project.get_entry_point(name).command

    def test_virtualenv_and_uv_take_the_locked_packages_from_the_file_for_conda(self) -> None:
        made = _PythonEnv.from_conda_yaml(load_project(ROOT).env_config_path)
        assert made.python == "3.11"
        assert len(made.dependencies) == len(
            re.findall(r"^[A-Za-z0-9]", (ROOT / "requirements.lock").read_text(), re.M)
        )

    def test_what_is_left_open_is_not_given_to_the_command(self) -> None:
        entry = load_project(ROOT).get_entry_point("run")
        said = 'exec() { printf "%s|" "$@"; }; python() { :; }; '
        for given, told in {
            (): "",
            (("profile", "smoke"),): "--profile|smoke|",
            (("tasks", "train[model=*] compare"), ("day", "2013-11-05")): "train[model=*]|compare|",
        }.items():
            command = said + entry.compute_command(dict(given), None)
            done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
            last = "--day|2013-11-05|" if "day" in dict(given) else ""
            assert done.stdout == f"python|-m|caderno.cli|run|{told}--pipeline|flights|{last}"


def environment(**more: str) -> dict[str, str]:
    """An activated environment, as `mlflow run --env-manager local` wants it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "CADERNO_", "PYTHON"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_CONFIG_GLOBAL": os.devnull} | more


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, env=environment())
    return done.stdout.strip()


def mlflow_run(folder: Path, uri: str, *arguments: str, store: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlflow", "run", uri, "--env-manager", "local", "--experiment-name", "flights"]
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=environment(MLFLOW_TRACKING_URI=f"sqlite:///{store}"),
        capture_output=True,
        text=True,
    )


def fingerprints(text: str) -> dict[str, str]:
    """The fingerprint of each task's record below a folder of results."""
    records = [json.loads(path.read_text()) for path in Path(text).glob("flights/**/task.json")]
    return {record["task"]: record["fingerprint"] for record in records}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this checkout as they are now, as one commit of a repository of their own."""
    root = tmp_path_factory.mktemp("origin") / "flights"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "as it is")
    return root


@pytest.fixture
def server(checkout: Path) -> Iterator[str]:
    """A git server that has the repository; its address."""
    port = free_port()
    command = ["git", "daemon", "--reuseaddr", "--export-all", "--listen=127.0.0.1", f"--port={port}"]
    daemon = subprocess.Popen(
        [*command, f"--base-path={checkout.parent}", str(checkout.parent)], start_new_session=True
    )
    uri = f"git://127.0.0.1:{port}/flights"
    try:
        for _ in range(100):
            if subprocess.run(["git", "ls-remote", uri], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        yield uri
    finally:
        os.killpg(daemon.pid, 15)
        daemon.wait()


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.timeout(1500)
class TestRunningTheProject:
    def test_a_commit_from_a_git_server_gives_the_fingerprints_of_a_local_run(
        self, checkout: Path, server: str, tmp_path: Path
    ) -> None:
        commit = git(checkout, "rev-parse", "HEAD")
        local = tmp_path / "local"
        git(tmp_path, "clone", "-q", str(checkout), str(local))
        there = environment(PYTHONPATH=str(local / "lib"))
        for command in (["flights.sources"], ["caderno.cli", "run", "compare", "--profile", "smoke"]):
            subprocess.run([sys.executable, "-m", *command], cwd=local, env=there, check=True, capture_output=True)
        expected = fingerprints(str(local / "data"))
        assert "compare" in expected

        # What is not in the commit is not in the run.
        (checkout / "lib/flights/lateness.py").write_text("raise RuntimeError\n")
        (checkout / "mlruns").mkdir()
        store = tmp_path / "mlflow.db"
        given = ["--version", commit, "-e", "run", "-P", "profile=smoke", "-P", "tasks=compare"]
        done = mlflow_run(tmp_path, server, *given, store=store)
        git(checkout, "checkout", "-q", ".")
        assert done.returncode == 0, done.stdout + done.stderr
        fetched = re.search(r"Fetching project from \S+ into (\S+)", done.stderr)
        assert fetched
        try:
            assert fingerprints(f"{fetched[1]}/data") == expected
        finally:
            shutil.rmtree(fetched[1])

        client = MlflowClient(f"sqlite:///{store}")
        experiment = client.get_experiment_by_name("flights")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        assert {run.info.status for run in runs} == {"FINISHED"}
        (project,) = [run for run in runs if run.data.tags["mlflow.source.type"] == "PROJECT"]
        assert project.data.tags["mlflow.source.git.commit"] == commit
        (pipeline,) = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == project.info.run_id]
        assert pipeline.data.tags["mlflow.source.git.commit"] == commit
        assert pipeline.data.tags["caderno.git.dirty"] == "false"
        assert {run.data.tags.get("mlflow.parentRunId") for run in runs} == {
            *(None, project.info.run_id, pipeline.info.run_id),
        }
        for run in runs:  # nothing is left in the folder that goes away
            assert fetched[1] not in run.info.artifact_uri

    def test_what_fails_ends_failed(self, checkout: Path, tmp_path: Path) -> None:
        store = tmp_path / "mlflow.db"
        done = mlflow_run(checkout, ".", "-e", "task", "-P", "task=regisry", store=store)
        assert done.returncode == 1
        assert "registry" in done.stderr  # the nearest right name
        client = MlflowClient(f"sqlite:///{store}")
        experiment = client.get_experiment_by_name("flights")
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FAILED"


PREDICT = """
import importlib.util, json, sys, mlflow
assert importlib.util.find_spec("caderno") is None and importlib.util.find_spec("flights") is None
model = mlflow.pyfunc.load_model("models:/flights@champion")
example = model.metadata.load_input_example(mlflow.artifacts.download_artifacts("models:/flights@champion"))
json.dump(model.predict(example).tolist(), sys.stdout)
"""


@pytest.fixture(scope="module")
def delivered(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a champion, of the smoke profile."""
    root = tmp_path_factory.mktemp("delivered") / "flights"
    git(root.parent, "clone", "-q", str(checkout), str(root))
    there = environment(PYTHONPATH=str(root / "lib"))
    for command in (
        ["flights.sources"],
        ["caderno.cli", "run", "--profile", "smoke", "compare"],
        ["caderno.cli", "release", *ADA],
        ["caderno.cli", "approve", "--why", "looked at", *BEA],
        ["caderno.cli", "promote", *ADA],
    ):
        done = subprocess.run([sys.executable, "-m", *command], cwd=root, env=there, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture(scope="module")
def clean(delivered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has what the champion lists, and nothing else; its folder of programs."""
    place = tmp_path_factory.mktemp("clean") / "venv"
    (model,) = (delivered / "data/flights/train/model=boosting/latest").glob("model")
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    pip = [str(place / "bin/python"), "-m", "pip", "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, "-r", str(model / "requirements.txt")], check=True, cwd=place)
    return place / "bin"


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.timeout(1500)
class TestModelsWithoutThisPackage:
    def settings(self, delivered: Path, clean: Path, home: Path) -> dict[str, str]:
        kept = {name: value for name, value in environment().items() if name != "VIRTUAL_ENV"}
        store = f"sqlite:///{delivered / 'mlflow.db'}"
        return kept | {"PATH": f"{clean}:/usr/bin:/bin", "HOME": str(home), "MLFLOW_TRACKING_URI": store}

    def expected(self, delivered: Path) -> list[list[float]]:
        model = delivered / "data/flights/train/model=boosting/latest/model"
        read = (
            "import json, sys, mlflow; m = mlflow.pyfunc.load_model(sys.argv[1]);"
            "json.dump(m.predict(m.metadata.load_input_example(sys.argv[1])).tolist(), sys.stdout)"
        )
        done = subprocess.run(
            [sys.executable, "-c", read, str(model)], env=environment(), capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def test_mlflow_loads_the_champion_and_it_predicts_the_same(
        self, delivered: Path, clean: Path, tmp_path: Path
    ) -> None:
        done = subprocess.run(
            [str(clean / "python"), "-c", PREDICT],
            cwd=tmp_path,
            env=self.settings(delivered, clean, tmp_path),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == self.expected(delivered)

    def test_mlflow_serves_the_champion(self, delivered: Path, clean: Path, tmp_path: Path) -> None:
        model = delivered / "data/flights/train/model=boosting/latest/model"
        asked = (model / "serving_input_example.json").read_bytes()
        port = str(free_port())
        command = [str(clean / "mlflow"), "models", "serve", "-m", "models:/flights@champion"]
        with (
            (tmp_path / "said").open("w") as said,
            subprocess.Popen(
                [*command, "--env-manager", "local", "--port", port],
                cwd=tmp_path,
                env=self.settings(delivered, clean, tmp_path),
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            ) as serving,
        ):
            try:
                answer = invocations(port, asked)
            finally:
                os.killpg(serving.pid, 15)
        assert answer["predictions"] == self.expected(delivered)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def invocations(port: str, asked: bytes) -> dict[str, Any]:
    """What MLflow's server answers, once it is there."""
    request = Request(f"http://127.0.0.1:{port}/invocations", asked, {"Content-Type": "application/json"})
    for _ in range(300):
        try:
            with urlopen(request) as response:
                return json.load(response)  # type: ignore[no-any-return]
        except ConnectionError:
            time.sleep(0.2)
        except URLError as error:
            if not isinstance(error.reason, ConnectionError):
                raise
            time.sleep(0.2)
    raise AssertionError("the server did not come up")


SERVED = """
caderno serve-key tests keys >key
caderno serve --host 0.0.0.0 --keys keys >said 2>&1 &
for i in $(seq 60); do "$@" 2>/dev/null && break; sleep 1; done
"$@" && python - <<END
from urllib.error import HTTPError
from urllib.request import Request, urlopen
uri = "http://127.0.0.1:8501/v1/models/flights"
try:
    urlopen(uri)
except HTTPError as error:
    print(error.code)
print(urlopen(Request(uri, headers={"X-API-Key": open("key").read().strip()})).status)
END
"""


class TestContainers:
    def test_its_images_are_named_without_a_host_and_run_as_nobody_special(self) -> None:
        found = instructions((ROOT / "Containerfile").read_text())
        bases = [rest.split() for word, rest in found if word == "FROM"]
        assert [name for _, _, name in bases] == ["base", "build", "engine", "service"]
        assert all("/" not in base for base, _, _ in bases)
        runs = [rest for word, rest in found if word == "RUN"]
        for run in runs:
            assert "pip install" not in run or "--require-hashes" in run or "--no-deps --no-build-isolation" in run
        last = [word for word, _ in found]
        assert last.index("USER") > max(place for place, word in enumerate(last) if word == "RUN")
        assert {"HEALTHCHECK", "ENTRYPOINT", "CMD"} <= set(last)

    def test_what_it_copies_is_in_git(self) -> None:
        tracked = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
        for word, rest in instructions((ROOT / "Containerfile").read_text()):
            if word == "COPY" and "--from" not in rest:
                for source in rest.split()[:-1]:
                    assert any(name == source or name.startswith(f"{source}/") for name in tracked), source

    @pytest.mark.container
    @pytest.mark.timeout(1800)
    def test_its_steps_make_an_engine_and_a_service_that_run_without_a_network(
        self, checkout: Path, tmp_path: Path
    ) -> None:
        lacking = [name for name in ("debootstrap", "unshare") if not shutil.which(name)]
        if lacking or os.geteuid() != 0:
            pytest.skip(
                f"root, debootstrap and unshare are needed, to change into folders; here is no {lacking or 'root'}"
            )
        images = build(checkout / "Containerfile", tmp_path, tmp_path / "log")
        engine, service = images["engine"], images["service"]
        assert engine.user == "caderno"
        assert (service.entry, service.cmd[0]) == (["caderno"], "serve")

        def said(words: list[str]) -> str:
            done = subprocess.run(service.command(words), capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        assert said(["id", "-un"]) == "caderno\n"
        said([*engine.entry, "run", "--profile", "smoke", "compare"])
        assert "nothing to run" in said([*engine.entry, "run", "--profile", "smoke", "compare"])
        said([*engine.entry, "release", *ADA])
        said([*engine.entry, "approve", "--why", "looked at", *BEA])
        said([*engine.entry, "promote", *ADA])
        assert said(["sh", "-c", SERVED, "sh", *service.healthcheck]) == "401\n200\n"
