"""Breaks the code in small ways and asks whether a test notices: `make mutants`.

a module -> its mutants, one small change each -> a sample -> for each, in a fork of a process that
has collected the tests, those that pass the changed line, quickest first -> killed, or a survivor

What survives is a law that nobody wrote down, or a change that changes nothing: it is to be read.
At least 80 % should be killed (docs/log.md). A test that times something or starts other processes
is no judge here: the first lies on a busy machine, the second runs the code unchanged.

mutmut 3 does the same for functions but leaves constants of modules and fields of classes alone,
which is where much of what limbwise has learnt is written, and knows no samples.
"""

import argparse
import ast
import importlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, FunctionType, MemberDescriptorType
from typing import Any

from mutations import mutants

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "limbwise"
TESTS = ROOT / "tests"

# Modules and their tests: the one place to change when files move.
MODULES = {
    "decode.py": ("test_decode.py", "test_defaults.py"),
    "peaks.py": ("test_peaks.py", "test_decode.py", "test_defaults.py"),
    "crops.py": (
        "test_refine.py",
        "test_boxes_to_poses.py",
        "test_evaluate.py",
        "test_defaults.py",
    ),
    "refine.py": ("test_refine.py", "test_boxes_to_poses.py", "test_defaults.py"),
    "geometry.py": ("test_geometry.py", "test_refine.py"),
    "track.py": ("test_track.py", "test_defaults.py"),
    "motion.py": ("test_track.py", "test_defaults.py"),
    "server/guard.py": ("test_guard.py", "test_serve.py", "test_defaults.py"),
    "train/batches/targets.py": (
        "test_targets.py",
        "test_augmentation.py::test_bands_round_limbs_are_gaussians_of_the_distance",
        "test_defaults.py",
    ),
    "train/loss.py": (
        "test_learning_step.py",
        "test_defaults.py",
        "test_loop.py::test_a_teacher_is_learnt_from_where_nobody_labelled",
        "test_loop.py::test_nobody_is_punished_where_nobody_labelled",
        "test_loop.py::test_perfect_maps_cost_nothing_and_background_is_what_is_left",
    ),
    "train/optimizers.py": ("test_optimizers.py", "test_learning_step.py", "test_defaults.py"),
    "tta.py": ("test_evaluate.py", "test_defaults.py"),
    "evaluation/evaluate.py": ("test_evaluate.py", "test_defaults.py"),
}
# Parts of the names of tests that time something or train for long.
NO_JUDGES = ("milliseconds", "takes_a_moment", "learns_the_sticks")
QUICK = 4.0  # seconds of processor time; tests that take longer are left out
COUNT = 60  # mutants of each module
GOAL = 0.8  # the share that should be killed


def take_over(name: str, file: Path, tree: ast.Module) -> None:
    """Makes the loaded module a changed one: functions and classes stay the objects that others
    have, with other insides; other names are replaced wherever they were imported."""
    module = sys.modules[name]
    old, new = vars(module), {"__name__": name, "__package__": module.__package__}
    exec(compile(tree, str(file), "exec"), new)
    of_ours = (str(PACKAGE), str(TESTS))
    theirs = [vars(each) for each in list(sys.modules.values())
              if str(getattr(each, "__file__", "")).startswith(of_ours)]  # fmt: skip
    for key, value in new.items():
        before = old.get(key)
        if getattr(before, "__module__", None) == name and _become(before, value):
            continue
        if not key.startswith("__"):
            for names in theirs:
                if key in names and names[key] is before:
                    names[key] = value
            old[key] = value


def _become(old: Any, new: Any) -> bool:
    """Gives a function or class the insides of another one; False if it is neither."""
    if isinstance(old, FunctionType) and isinstance(new, FunctionType):
        old.__code__, old.__defaults__ = new.__code__, new.__defaults__
        old.__kwdefaults__ = new.__kwdefaults__
        if hasattr(old, "__wrapped__"):
            _become(old.__wrapped__, new.__wrapped__)
        return True
    if not (isinstance(old, type) and isinstance(new, type)):
        return False
    for key, value in vars(new).items():
        before = vars(old).get(key)
        insides = [getattr(before, part, None) for part in ("__func__", "fget")]
        others = [getattr(value, part, None) for part in ("__func__", "fget")]
        done = any(map(_become, [before, *insides], [value, *others]))
        if not (done or key.startswith("__") or isinstance(value, MemberDescriptorType)):
            setattr(old, key, value)
    return True


class Judge:
    """A plugin of pytest: once the tests are collected, it runs them again and again, each time in
    a fork with another mutant of `module`."""

    def __init__(self, module: str, count: int, seed: int, folder: Path) -> None:
        self.module, self.count, self.seed, self.folder = module, count, seed, folder
        self.file = PACKAGE / module
        self.name = ".".join(["limbwise", *Path(module).with_suffix("").parts])
        self.items: list[Any] = []
        self.failed: list[str] = []
        self.judged, self.survivors = 0, list[str]()

    def pytest_configure(self) -> None:
        """The same examples every time, and of a failure no more than that it is one."""
        from hypothesis import HealthCheck, Phase, settings

        settings.register_profile(
            "mutants", derandomize=True, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate),
        )  # fmt: skip
        settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.failed += [report.nodeid] * report.failed

    def pytest_runtestloop(self, session: Any) -> bool:
        self.items = [each for each in session.items if not any(n in each.name for n in NO_JUDGES)]
        source = self.file.read_text()
        taken, lines = self.seen()
        quick = [each for each in self.items if taken[each.nodeid] < QUICK]
        quick.sort(key=lambda item: (str(item.path), taken[item.nodeid]))
        if not self.passes(quick, ast.parse(source), 100):
            raise SystemExit(f"{self.module}: put in its own place, it fails")
        some = mutants(source)
        chosen = sorted(
            random.Random(self.seed).sample(range(len(some)), min(self.count, len(some)))
        )
        for mutant in (some[n] for n in chosen):
            passing = [
                each
                for each in quick
                if mutant.everywhere or set(lines[each.nodeid]) & {*mutant.lines}
            ]
            seconds = sum(taken[each.nodeid] for each in passing)
            self.judged += 1
            if not passing or self.passes(passing, mutant.tree, seconds):
                self.survivors.append(f"{mutant.text}{'' if passing else '   (no test passes it)'}")
        (self.folder / "judged.json").write_text(json.dumps([self.judged, self.survivors]))
        return True

    def seen(self) -> tuple[dict[str, float], dict[str, list[int]]]:
        """What each test takes, in seconds of processor time, and the lines that it passes."""
        path = self.folder / "seen.json"

        def look() -> bool:
            taken: dict[str, float] = {}
            lines: dict[str, set[int]] = {}
            now = ""

            def trace(frame: FrameType, event: str, _: object) -> Any:
                if frame.f_code.co_filename != str(self.file):
                    return None
                lines[now].add(frame.f_lineno)
                return trace

            threading.settrace(trace)
            for item, after in zip(self.items, [*self.items[1:], None], strict=True):
                now = item.nodeid
                lines[now], taken[now] = set(), -time.process_time()
                sys.settrace(trace)
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
                sys.settrace(None)
                taken[now] += time.process_time()
            passed = {name: sorted(some) for name, some in lines.items()}
            path.write_text(json.dumps([taken, passed, self.failed]))
            return True

        in_a_fork(look, 600)
        taken, lines, failed = json.loads(path.read_text())
        if failed:
            raise SystemExit(f"{self.module}: without any change fail {', '.join(failed)}")
        return taken, lines

    def passes(self, items: Sequence[Any], tree: ast.Module, seconds: float) -> bool:
        """Whether the tests do, with the module changed."""

        def run() -> bool:
            take_over(self.name, self.file, tree)
            for item, after in zip(items, [*items[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
                if self.failed:
                    return False
            return True

        return in_a_fork(run, seconds)


def in_a_fork(work: Callable[[], bool], seconds: float) -> bool:
    """What `work` says; False if it dies, or takes far more than the `seconds` of processor time
    that it should."""
    child = os.fork()
    if not child:
        code = 1
        try:
            limit = 20 + int(5 * seconds)
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            code = 0 if work() else 1
        finally:
            os._exit(code)
    until = time.monotonic() + 60 + 20 * seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def judge(module: str, count: int, seed: int, folder: Path) -> tuple[int, list[str]]:
    """How many mutants of a module were judged, and those that survived; in a process of its own,
    since limbwise and the tests are loaded for it."""
    result = folder / "judged.json"
    result.unlink(missing_ok=True)

    def work() -> bool:
        import pytest

        tests = [str(TESTS / each) for each in MODULES[module]]
        options = ["-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={folder / 'tests'}",
                   "-W", "ignore::pytest.PytestAssertRewriteWarning"]  # fmt: skip
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        pytest.main([*options, *tests], plugins=[Judge(module, count, seed, folder)])
        return True

    in_a_fork(work, 100_000)
    if not result.is_file():
        raise SystemExit((folder / "log").read_text()[-3000:])
    judged, survivors = json.loads(result.read_text())
    return judged, survivors


def warm_up() -> None:
    """Loads what tests need that is not limbwise's own, once for all forks; nothing may start
    threads here."""
    os.environ |= {"CI": "1", "OMP_NUM_THREADS": "1"}
    sys.path.insert(0, str(PACKAGE.parent))
    os.chdir(ROOT)
    for name in ("cv2", "hypothesis.extra.numpy", "openvino", "pycocotools.cocoeval", "pytest",
                 "scipy.optimize", "starlette.routing", "torch._dynamo", "typer",
                 "uvicorn"):  # fmt: skip
        importlib.import_module(name)


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutation testing; see the top of the file.")
    parser.add_argument("modules", nargs="*", help=", ".join(MODULES))
    parser.add_argument("--count", type=int, default=COUNT, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    warm_up()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for module in flags.modules or MODULES:
            began = time.monotonic()
            judged, survivors = judge(module, flags.count, flags.seed, Path(folder))
            rows.append((module, judged, len(survivors)))
            print("".join(f"  {module}:{each}\n" for each in survivors), end="")
            print(f"{module}: {1 - len(survivors) / judged:.0%} of {judged} killed, "
                  f"{time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
    judged, alive = (sum(row[n] for row in rows) for n in (1, 2))
    print(f"in all: {1 - alive / judged:.0%} of {judged} killed")
    return int(alive > (1 - GOAL) * judged)


if __name__ == "__main__":
    sys.exit(main())
