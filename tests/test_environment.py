"""Poor surroundings are no trouble, or one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from limbwise.cli import environment, terminal
from limbwise.cli.environment import lack, prepare
from limbwise.cli.terminal import complain, failing_in_one_line
from limbwise.errors import BadInput
from limbwise.estimator import SAMPLE

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
RUN = f"'{sys.executable}' -m limbwise run"


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=60,
        env={**os.environ, **variables}, check=False,
    )  # fmt: skip


@posix
@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        (f"{RUN} - <&-", 2, "standard input is closed"),
        (f"{RUN} '{SAMPLE}' --size 64 >&-", 2, "standard output is closed"),
        (f"{RUN} none.jpg <&- 2>&-", 2, ""),
        (f"ulimit -v 800000; {RUN} '{SAMPLE}' --size 64", 1, "limbwise: "),
    ],
)
def test_closed_streams_and_limits_are_one_line(line: str, code: int, told: str) -> None:
    done = shell(line)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == (1 if told else 0)


@posix
def test_a_file_does_not_get_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    done = shell(f"{RUN} '{SAMPLE}' --size 64 --json '{out}' <&- >&- 2>&-")
    assert (done.returncode, len(out.read_text().splitlines())) == (0, 1)


@posix
def test_standard_streams_that_are_closed_are_nobodys() -> None:
    code = (
        "import os; from limbwise.cli.environment import prepare; "
        "prepare(); os._exit(os.open('/', 0))"
    )
    assert shell(f"'{sys.executable}' -c \"{code}\" <&- >&- 2>&-").returncode == 3


def test_who_has_no_home_gets_one_for_this_run(monkeypatch) -> None:
    """OpenVINO's telemetry asks for it when it is imported."""
    plain = Path.home

    def home() -> Path:
        if "HOME" not in os.environ:
            raise RuntimeError("Could not determine home directory.")
        return plain()

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(environment.Path, "home", home)
    prepare()
    assert Path(os.environ["HOME"]).is_dir()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        RuntimeError("Exception from x:\nstd::bad_alloc\n"),
        ImportError("libopenvino.so: failed to map segment from shared object"),
    ],
)
def test_a_lack_of_memory_or_threads_is_one_line_and_1(error: Exception, capsys) -> None:
    with pytest.raises(SystemExit, match="1"), failing_in_one_line():
        raise error
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_other_failures_are_not_hidden() -> None:
    assert lack(RuntimeError("a mistake")) is None
    with pytest.raises(RuntimeError, match="a mistake"), failing_in_one_line():
        raise RuntimeError("a mistake")


def test_a_terminal_of_no_width_is_told_all_the_same(monkeypatch, capsys) -> None:
    monkeypatch.setattr(terminal, "stderr", Console(stderr=True, width=0))  # as COLUMNS=0 has it
    complain(BadInput("what is wrong"))
    assert "what is wrong" in capsys.readouterr().err
