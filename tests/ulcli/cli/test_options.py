"""Every option of every command reaches the function behind it, in its settings or in its reporter."""

from pathlib import Path

import pytest

from ulcli.commands.settings import EvaluateSettings, ScoreSettings, TrainSettings
from ulcli.errors import UserError
from ulcli.model.choices import EvidenceFrom, SetMethod

TRAIN = {
    "checkpoint": Path("net.pth"),
    "data": "digits:train",
    "val": "digits:test",
    "arch": "resnet18",
    "loss": "evidential",
    "reg_factor": 0.25,
    "output": Path("other.pt"),
    "image_size": 32,
    "mean": "0.1,0.2,0.3",
    "std": "0.4",
    "grayscale": True,
    "flag_rate": 0.1,
    "target_accuracy": 0.9,
    "evidence_from": EvidenceFrom.HEAD,
    "hold_out": ["3", "8"],
    "data_root": Path("sets"),
    "download": True,
    "seed": 5,
    "batch_size": 9,
    "workers": 2,
    "device": "cuda:1",
    "no_cache": True,
}
EVALUATE = {
    "model": Path("m.pt"),
    "data": "digits:val",
    "ood": ["noise", "photos"],
    "require": ["accuracy>0.5", "ece<1"],
    "shift": ["blur:2", "noise"],
    "bootstrap": 50,
    "seed": 5,
    "data_root": Path("sets"),
    "download": True,
    "batch_size": 9,
    "workers": 2,
    "device": "cuda:1",
    "no_cache": True,
}
SCORE = {
    "model": Path("m.pt"),
    "inputs": ["a.png", "b"],
    "flag_on": "vacuity>0.4",
    "max_flagged": "5%",
    "probs": True,
    "alpha": True,
    "sets": 0.9,
    "set_method": SetMethod.APS,
    "data_root": Path("sets"),
    "batch_size": 9,
    "workers": 2,
    "device": "cuda:1",
}
COMMANDS = {
    "train": (TrainSettings, TRAIN, {}),
    "evaluate": (EvaluateSettings, EVALUATE, {"model": Path("m.pt")}),
    "score": (ScoreSettings, SCORE, {"model": Path("m.pt"), "inputs": ["a.png"]}),
}
ARGUMENTS = ("checkpoint", "model", "inputs")
SHORT = {"output": "-o", "batch_size": "-b", "workers": "-j"}


def words(given, *, short=False):
    """The settings as somebody would type them."""
    typed = []
    for name, value in given.items():
        option = SHORT.get(name) if short else None
        option = option or f"--{name.replace('_', '-')}"
        if name in ARGUMENTS:
            typed += value if isinstance(value, list) else [value]
        elif value is True:
            typed.append(option)
        else:
            for each in value if isinstance(value, list) else [value]:
                typed += [option, getattr(each, "value", each)]
    return typed


@pytest.fixture
def asked(ul, monkeypatch):
    """The settings and the reporter that a command line comes to; nothing is done with them."""

    def ask(command, *typed):
        seen = []

        def stop(settings, reporter):
            seen.append((settings, reporter))
            raise UserError("far enough")

        monkeypatch.setattr(f"ulcli.commands.{command}.{command}", stop)
        ran = ul(command, *typed)
        assert (ran.code, ran.error_line) == (2, "ul: far enough")
        return seen[0]

    return ask


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_reaches_its_setting(asked, command, short):
    settings, given, _ = COMMANDS[command]
    built = asked(command, *words(given, short=short))[0]
    assert built == settings(**given)
    plain = settings(**{name: value for name, value in given.items() if name in ("model", "inputs")})
    assert {name for name in given if getattr(built, name) == getattr(plain, name)} <= {"model", "inputs"}


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_given_is_what_the_settings_have(asked, command):
    settings, _, required = COMMANDS[command]
    assert asked(command, *words(required))[0] == settings(**required)


def test_color_is_said_too(asked):
    assert asked("train", "--color")[0].grayscale is False
    assert asked("train")[0].grayscale is None


@pytest.mark.parametrize("command", COMMANDS)
def test_the_root_of_data_sets_may_stand_in_the_environment(asked, command, monkeypatch):
    monkeypatch.setenv("UL_DATA_ROOT", "/elsewhere")
    assert asked(command, *words(COMMANDS[command][2]))[0].data_root == Path("/elsewhere")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("flags", "quiet", "progress"),
    [
        ([], False, True),
        (["-q"], True, False),
        (["--quiet"], True, False),
        (["--no-progress"], False, False),
        (["-q", "--no-progress"], True, False),
    ],
)
def test_who_is_told_what(asked, command, flags, quiet, progress, monkeypatch, capsys):
    built = []
    monkeypatch.setattr(
        "ulcli.output.console.ConsoleReporter", lambda *, quiet, progress: built.append((quiet, progress))
    )
    asked(command, *words(COMMANDS[command][2]), *flags)
    ((told_quiet, told_progress),) = built
    assert told_quiet is quiet
    assert (told_progress and not told_quiet) is progress


def test_settings_are_checked_before_anything_is_imported_or_read(ul):
    ran = ul("score", "none.pt", "none.png", "--batch-size", 0)
    assert "--batch-size is 0, expected a whole number of 1 or more" in ran.error_line
