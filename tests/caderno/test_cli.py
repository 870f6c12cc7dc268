"""The command line without a kernel: in this process where it can be, in one of its own where that is the point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from workshop import LIMIT, Done, Workshop, ended, until

from caderno import cli

MAKE = 'seed: int = 1\nmade: str = "../data/scratch/made.txt"'
HEAVY = [
    "pandas",
    "numpy",
    "mlflow",
    "papermill",
    "nbformat",
    "nbclient",
    "nbconvert",
    "jupyter_client",
    "sqlalchemy",
    "IPython",
]


@pytest.fixture
def chain(shop: Workshop) -> Workshop:
    """make (a matrix) → use, not run yet."""
    shop.notebook("make.ipynb", MAKE, "x = 1")
    shop.notebook("use.ipynb", "made: list[str] = []", "x = 1")
    shop.pipeline("""
        make: {notebook: make.ipynb, matrix: {seed: [1, 2]}, outputs: {made: made.txt}}
        use: {notebook: use.ipynb, inputs: {made: make.made}}
    """)
    return shop


Call = Callable[..., Done]


@pytest.fixture
def call(shop: Workshop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Run `caderno …` in this process, in a folder of the project."""

    def run(*arguments: str, folder: str = ".") -> Done:
        monkeypatch.chdir(shop.root / folder)
        monkeypatch.setattr(sys, "argv", ["caderno", *arguments])
        capfd.readouterr()
        code: object = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        assert isinstance(code, int)
        out, err = capfd.readouterr()
        return Done(code, out + err, 0.0)

    return run


def test_help_lists_every_command_with_a_line(call: Call) -> None:
    for flag in ("--help", "-h"):
        done = call(flag)
        assert done.code == 0
        for name, command in cli.cli.commands.items():
            assert name in done
            assert command.get_short_help_str(60).removesuffix("...")[:40] in done.out


@pytest.mark.parametrize("name", sorted(cli.cli.commands))
def test_each_command_has_help_outside_of_any_project(name: str, call: Call) -> None:
    done = call(name, "--help")
    assert done.code == 0
    assert f"Usage: caderno {name}" in done
    said = " ".join(done.out.split())
    for option in cli.cli.commands[name].params:
        if isinstance(option, click.Option):
            assert option.help
            assert option.help in said


def test_the_version_is_the_packages(call: Call) -> None:
    from importlib.metadata import version

    assert version("caderno") in call("--version")


@pytest.mark.parametrize(("word", "meant"), [("staus", "status"), ("rum", "run"), ("Plan", "plan"), ("shwo", "show")])
def test_a_misspelt_command_is_told_with_the_nearest(word: str, meant: str, call: Call) -> None:
    done = call(word)
    assert done.code == 2
    assert f"there is no command {word!r}: did you mean {meant!r}?" in done


def test_a_misspelt_option_is_told_with_the_nearest(call: Call) -> None:
    done = call("run", "--froce")
    assert done.code == 2
    assert "--force" in done


@pytest.mark.parametrize("jobs", ["0", "-1", "many", "1.5"])
def test_a_number_of_jobs_that_is_none_is_refused(chain: Workshop, call: Call, jobs: str) -> None:
    assert call("run", "--jobs", jobs).code == 2


@pytest.mark.parametrize("command", [["run"], ["plan"], ["status"], ["show", "x"], ["open"]])
def test_outside_of_a_project_each_command_says_so(command: list[str], call: Call) -> None:
    done = call(*command)
    assert done.code == 2
    assert "error: no project here" in done
    assert "params/<pipeline>.yaml" in done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "mkae"], "there is no task 'mkae'\n  did you mean 'make'?"),
        (["plan", "make[seed=3]"], "did you mean 'make[seed="),
        (["run", "--profile", "smoke"], "there is no profile 'smoke'"),
        (["run", "--pipeline", "tin"], "there is no pipeline 'tin'\n  did you mean 'tiny'?"),
        (["plan", "-p", "seed"], "'seed' is not [TASK.]NAME=VALUE"),
        (["plan", "-p", "=1"], "'=1' is not [TASK.]NAME=VALUE"),
        (["plan", "-p", "use.made=1"], "-p use.made=1: tasks.use.inputs.made"),
        (["plan", "-p", "make.sede=1"], "did you mean 'seed'?"),
        (["show", "use"], "use has not been run yet\n  run: caderno run use"),
        (["show", "make"], "make: is 2 tasks\n  name one of them, such as make[seed=1]"),
        (["open", "use"], "use has not been run yet"),
        (["open"], "there is no reports/index.html yet\n  run: caderno run"),
        (["status"], "the pipeline tiny has not been run yet\n  run: caderno run"),
    ],
)
def test_a_mistake_exits_with_2_and_says_what_to_do(
    chain: Workshop, call: Call, arguments: list[str], said: str
) -> None:
    done = call(*arguments)
    assert done.code == 2
    assert said in done
    assert "Traceback" not in done


TINY, NOTEBOOK = "params/tiny.yaml", "notebooks/make.ipynb"
BREAK: dict[str, tuple[Callable[[Workshop], object], str]] = {
    "no YAML": (lambda shop: shop.write(TINY, "name: tiny\n\ttasks:"), f"{TINY}:2: not valid"),
    "a folder": (lambda shop: shop.write("params/other.yaml/x", ""), "params/"),
    "unknown key": (lambda shop: shop.pipeline("make: {notbook: make.ipynb}"), f"{TINY}:3: unknown key"),
    "cycle": (
        lambda shop: shop.pipeline("make: {notebook: make.ipynb, after: [make]}"),
        f"{TINY}:3: the tasks wait for each other",
    ),
    "no JSON": (lambda shop: shop.write(NOTEBOOK, "{\n"), f"{NOTEBOOK}:2: not valid JSON"),
    "nbformat 3": (lambda shop: shop.write(NOTEBOOK, '{"nbformat": 3}'), f"{NOTEBOOK}: has notebook format 3"),
    "missing input": (
        lambda shop: shop.pipeline("use: {notebook: use.ipynb, inputs: {made: ['file:data/x.csv']}}"),
        f"{TINY}:3: task use reads data/x.csv",
    ),
    "wrong type": (
        lambda shop: shop.pipeline("make: {notebook: make.ipynb, params: {seed: '1'}}"),
        f"{TINY}:3: parameter 'seed': expected int",
    ),
}


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("name", BREAK)
def test_what_is_wrong_in_the_files_is_told_with_its_place_before_anything_starts(
    chain: Workshop, call: Call, name: str, command: str
) -> None:
    breaks, said = BREAK[name]
    breaks(chain)
    done = call(command)
    assert done.code == 2
    assert f"error: {said}" in done
    assert "Traceback" not in done
    assert not (chain.root / "mlflow.db").exists()


def test_plan_shows_what_would_run_and_why(chain: Workshop, call: Call) -> None:
    done = call("plan", folder="notebooks")
    assert done.code == 0
    lines = [line.strip().split(maxsplit=2) for line in done.out.splitlines()]
    assert ["run", "make[seed=1]", "new"] in lines
    assert ["wait", "use", "upstream make[seed=1] and 1 more runs"] in lines
    assert "2 to run, 1 wait for them, 0 cached" in done


def test_plan_says_what_changed(chain: Workshop, call: Call) -> None:
    chain.settle()
    assert "0 to run, 3 cached" in call("plan")
    chain.notebook("use.ipynb", "made: list[str] = []", "x = 2")
    assert ["run", "use", "code cell 2 changed"] in [
        line.strip().split(maxsplit=2) for line in call("plan").out.splitlines()
    ]


def test_a_line_of_a_plan_is_whole_where_there_is_no_terminal(chain: Workshop, call: Call) -> None:
    long = "x" * 150
    chain.notebook("make.ipynb", "name: str = ''\n" + MAKE, "x = 1")
    chain.pipeline(f"make: {{notebook: make.ipynb, matrix: {{name: [{long}]}}, outputs: {{made: made.txt}}}}")
    assert f"make[name={long}]" in call("plan")


def test_show_tells_the_record_of_a_task(chain: Workshop, call: Call) -> None:
    chain.settle()
    done = call("show", "make[seed=2]", folder="lib")
    assert done.code == 0
    for part in (
        "notebooks/make.ipynb",
        "seed",
        "made.txt",
        chain.record("make[seed=2]").fingerprint,
        "data/tiny/make/seed=2/",
    ):
        assert part in done
    assert json.loads(call("show", "use", "--json").out)["inputs"]["made"][1]["task"] == "make[seed=2]"


def test_markup_in_a_value_is_shown_as_it_is(shop: Workshop, call: Call) -> None:
    shop.notebook("one.ipynb", "label: str = '[bold]x[/]'", "x = 1")
    shop.pipeline("one: {notebook: one.ipynb}")
    shop.settle()
    assert "[bold]x[/]" in call("show", "one")


def test_open_hands_the_page_to_the_browser(chain: Workshop, tmp_path: Path) -> None:
    chain.settle()
    page = chain.result("use") / "report.html"
    page.write_text("<h1>use</h1>")
    browser = tmp_path / "bin/xdg-open"
    browser.parent.mkdir()
    browser.write_text(
        f'#!/bin/sh\necho "$1" > "{tmp_path}/opened.part" && mv "{tmp_path}/opened.part" "{tmp_path}/opened"\n'
    )
    browser.chmod(0o755)
    done = chain.caderno("open", "use", env={"PATH": f"{browser.parent}:{os.environ['PATH']}"})
    assert done.code == 0, done.out
    assert chain.project.relative(page) in done
    until((tmp_path / "opened").exists, 5)
    assert (tmp_path / "opened").read_text().strip() in (str(page), page.as_uri())


def test_a_run_with_nothing_to_do_imports_nothing_heavy(chain: Workshop) -> None:
    chain.settle()
    script = (
        "import sys\n"
        "sys.argv = ['caderno', *sys.argv[1:]]\n"
        "from caderno import cli\n"
        "try:\n"
        "    cli.main()\n"
        "finally:\n"
        f"    print('heavy:', [name for name in {HEAVY} if name in sys.modules])\n"
    )
    for arguments in (["--help"], ["plan"], ["run"]):
        command = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(
            command, cwd=chain.root, env=chain.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == "heavy: []", arguments
    assert "nothing to run: tiny, 3 cached" in done.stdout
    assert not (chain.root / "mlflow.db").exists()


def test_a_reader_that_goes_away_is_no_error(chain: Workshop) -> None:
    process = chain.start("plan")
    assert process.stdout
    process.stdout.close()
    process.wait(LIMIT)
    assert process.returncode in (0, 141)


def test_a_pipe_to_head_shows_no_traceback(chain: Workshop) -> None:
    script = f'"{sys.executable}" -m caderno.cli plan | head -n 0; sleep 0.1'
    process = subprocess.Popen(
        ["sh", "-c", script], cwd=chain.root, env=chain.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    assert ended(process).out == ""


def test_a_sweep_is_one_line_of_a_plan_and_all_unfolds_it(shop: Workshop, call: Call) -> None:
    shop.notebook("train.ipynb", "i: int = 0", "i")
    shop.pipeline(f"train: {{notebook: train.ipynb, matrix: {{i: {list(range(40))}}}}}")
    done = call("plan")
    assert "train ×40  [i=0] [i=1] … [i=39]" in done
    assert "40 to run, 0 cached  (--all: a line each)" in done
    assert sum("train[i=" in line for line in call("plan", "--all").out.splitlines()) == 40
    assert "train[i=7]" in call("plan", "train[i=7]", "train")


def test_a_dry_run_shows_the_plan_and_leaves_nothing(chain: Workshop, call: Call) -> None:
    done = call("run", "--dry-run", "--jobs", "2", "--force")
    assert (done.code, done.out) == (0, call("plan", "--force").out)
    for name in ("data", "reports", "mlflow.db"):
        assert not (chain.root / name).exists()


@pytest.mark.parametrize("other", ["--quiet", "--dry-run"])
def test_events_as_json_leave_no_room_for_another_way_of_telling(chain: Workshop, call: Call, other: str) -> None:
    done = call("run", "--json", other)
    assert done.code == 2
    assert f"it does not go with {other}" in done
