"""What bash completes, asked as it asks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workshop import Workshop

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
ASK = """
caderno() { "$PYTHON" -m caderno.cli "$@"; }
compopt() { :; }
eval "$(caderno completion bash)"
COMP_LINE="$LINE" COMP_POINT=${#LINE}
_caderno_completion caderno
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def project(shop: Workshop) -> Workshop:
    shop.notebook("train.ipynb", "seed: int = 1  # of the generator\nmodel: str = 'a'", "1")
    shop.notebook("etl/make.ipynb", "month: str = ''", "1")
    shop.pipeline("""
        make: {notebook: etl/make.ipynb, matrix: {month: [2013-01, 2013-02]}}
        train: {notebook: train.ipynb, matrix: {model: [forest, "a:b"]}}
    """)
    shop.write("params/profiles/smoke.yaml", "params: {seed: 2}\n")
    return shop


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("caderno comp", "completion"),
        ("caderno run ", "make train"),
        ("caderno run tr", "train"),
        ("caderno run train", "train train[model=forest] train[model=a:b]"),
        ("caderno run train[model=f", "forest]"),
        ("caderno run train[model=a:", "b]"),
        ("caderno run +ma", "+make"),
        ("caderno run -p se", "seed="),
        ("caderno show --profile ", "smoke"),
        ("caderno plan --pipeline t", "tiny"),
        ("caderno run --for", "--force"),
        ("caderno log nothing", ""),
    ],
)
def test_bash_completes(project: Workshop, line: str, completed: str, tmp_path: Path) -> None:
    wrapper = tmp_path / "ask.sh"
    wrapper.write_text(ASK.replace("_caderno_completion caderno\n", '_caderno_completion "$CADERNO"\n'))
    command = tmp_path / "caderno"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m caderno.cli "$@"\n')
    command.chmod(0o755)
    variables = project.environment(LINE=line, PYTHON=sys.executable, CADERNO=str(command))
    done = subprocess.run(
        ["bash", str(wrapper)], cwd=project.root, env=variables, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == completed.split()


def test_a_project_that_is_broken_completes_nothing_and_says_nothing(project: Workshop) -> None:
    project.write("params/tiny.yaml", "name: [\n")
    variables = project.environment(COMP_WORDS="caderno run ", _CADERNO_COMPLETE="bash_complete")
    done = subprocess.run(
        [sys.executable, "-m", "caderno.cli"],
        cwd=project.root,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shop: Workshop, shell: str) -> None:
    assert "_CADERNO_COMPLETE" in shop.caderno("completion", shell).out
