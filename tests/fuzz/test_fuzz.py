"""Whatever a command is given, it answers: with 0, or with one to three lines and 2 (1 for what
nobody can mend); it never hangs, changes nothing that it reads, and leaves nothing half-written.

`make test` draws a sample, `make fuzz` all of it. A case is known by its family and number:
    LIMBWISE_FUZZ=all pytest "tests/fuzz/test_fuzz.py::test_case[films-17]"
"""

import hashlib
import io
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from random import Random

import pytest
from families import FAMILIES, Case, environment

from limbwise.backends import openvino
from limbwise.backends.base import Backend
from limbwise.cli.app import exit_code
from limbwise.models.catalogue import MODELS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a shell, links and devices")
ALL = os.environ.get("LIMBWISE_FUZZ") == "all"
CASES = [
    pytest.param(family, number, id=f"{family.__name__}-{number}")
    for family, (few, many) in FAMILIES.items()
    for number in range(many if ALL else few)
]


@pytest.fixture(scope="module", autouse=True)
def _bundled_models_are_loaded_once():
    plain = openvino.load
    kept = cache(plain)

    def load(path: Path, *args: object, **how: object) -> Backend:
        return (kept if Path(path).parent == MODELS else plain)(path, *args, **how)

    openvino.load = load
    yield
    openvino.load = plain


def fingerprints(folder: Path) -> dict[str, str]:
    """What each file below a folder is: a digest, or its kind."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            kind = f"link to {path.readlink()}"
        elif path.is_file():
            kind = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            kind = oct(path.stat().st_mode)
        found[str(path.relative_to(folder))] = kind
    return found


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("family", "number"), CASES)
def test_case(family, number, tmp_path, monkeypatch, capfd) -> None:
    case = family(Random(f"{family.__name__} {number}"), tmp_path)
    monkeypatch.chdir(tmp_path)
    before, bundled = fingerprints(tmp_path), fingerprints(MODELS)
    code, told = apart(case) if case.apart else here(case, monkeypatch, capfd)
    about = f"{case.args} {case.environment} {case.limits}\n{told}"
    assert code in (0, 1, 2), about
    assert "Traceback" not in told, about
    assert code != 1 or case.limits, about
    if not crashed_in_a_library(case, told):
        assert len(told.strip().splitlines()) <= 3, about
        assert code == 0 or told.strip() or "2>&-" in case.limits, about
    judge_files(case, code, before, fingerprints(tmp_path), about)
    assert fingerprints(MODELS) == bundled, about


def judge_files(case: Case, code: int, before: dict, after: dict, about: str) -> None:
    allowed = {os.path.normpath(name) for name in case.outputs if name}
    for name, kind in before.items():
        if name in case.reads or name not in allowed or code == 2:
            assert after.get(name) == kind, f"{name} was changed\n{about}"
    assert not [name for name in after if ".partial" in name], about


def crashed_in_a_library(case: Case, told: str) -> bool:
    """Where a limit is so low that libraries cannot even be imported, they speak for themselves."""
    return bool(re.search(r"ulimit -[sv]", case.limits)) and "import" in told


def here(case: Case, monkeypatch, capfd) -> tuple[int, str]:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(case.stdin)))
    code = exit_code(case.args)
    return code, capfd.readouterr().err


def apart(case: Case) -> tuple[int, str]:
    variables = {**os.environ, **case.environment}
    variables = {name: value for name, value in variables.items() if value is not None}
    command = shlex.join([sys.executable, "-m", "limbwise", *case.args])
    done = subprocess.run(
        ["bash", "-c", f"{case.limits} exec {command}"],
        input=case.stdin, capture_output=True, env=variables, timeout=50,
    )  # fmt: skip
    return done.returncode, done.stderr.decode(errors="replace")


def test_every_case_is_the_same_when_it_is_drawn_again(tmp_path) -> None:
    for family in FAMILIES:
        drawn = []
        for folder in ("a", "b"):
            (tmp_path / family.__name__ / folder).mkdir(parents=True)
            where = tmp_path / family.__name__ / folder
            drawn.append((family(Random("x"), where), fingerprints(where)))
        assert drawn[0][0] == drawn[1][0]
        assert set(drawn[0][1]) == set(drawn[1][1])
    assert environment in FAMILIES
