"""Numbers on the command line: every option says which it takes, and what it does not take is one
line, before anything is begun."""

from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from limbwise.cli.app import app, exit_code

BAD = ("inf", "-inf", "nan", "1e30", "-1e30", "", " ", "0x20", "ten", "1.5.2", "1,2", "9" * 40,
       "-" + "9" * 40, "None", "9" * 5000)  # fmt: skip


def options() -> dict[str, Any]:
    """What is said of each numeric option, by what one writes: "run --size"."""
    found = {}
    for command in app.registered_commands:
        verb = command.name or command.callback.__name__.replace("_", "-")
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            kind, *said = get_args(hint) if get_origin(hint) is Annotated else (hint,)
            if {int, float} & {kind, *get_args(kind)}:
                option = (said[0].param_decls or [f"--{name.replace('_', '-')}"])[0]
                found[f"{verb} {option}"] = said[0]
    return found


NUMERIC = options()


def test_all_verbs_have_numeric_options_that_are_known_here() -> None:
    assert {name.split()[0] for name in NUMERIC} == {
        "run", "batch", "eval", "bench", "models", "serve", "train", "check-data", "export",
        "doctor",
    }  # fmt: skip
    assert len(NUMERIC) > 35


@pytest.mark.parametrize("name", NUMERIC)
def test_a_number_has_limits_on_both_sides(name: str) -> None:
    kind = NUMERIC[name]
    assert kind.min is not None
    assert kind.max is not None
    assert kind.min < kind.max


@pytest.mark.parametrize("name", NUMERIC)
@pytest.mark.parametrize("value", BAD)
def test_what_is_no_such_number_is_one_line_that_names_the_option(name, value, capsys) -> None:
    verb, option = name.split()
    given = {"run": 1, "batch": 1, "eval": 2, "train": 2, "check-data": 2, "export": 2}.get(verb, 0)
    assert exit_code([verb, *["nothing"] * given, f"{option}={value}"]) == 2
    told = capsys.readouterr().err.strip()
    assert len(told.splitlines()) == 1
    assert option in told


@pytest.mark.parametrize(
    "args",
    [["eval", "a", "b", "--scales"], ["bench", "--size"], ["bench", "--threads"],
     ["bench", "--batch"], ["train", "a", "b", "--augment"]],
    ids=lambda args: args[-1],
)  # fmt: skip
@pytest.mark.parametrize("value", [each for each in BAD if each not in ("1,2", "", " ")])
def test_so_is_what_is_no_list_of_numbers(args, value, capsys) -> None:
    value = f"mosaic={value}" if args[-1] == "--augment" else value
    assert exit_code([*args, value]) == 2
    told = capsys.readouterr().err.strip()
    assert len(told.splitlines()) == 1
    assert args[-1] in told
