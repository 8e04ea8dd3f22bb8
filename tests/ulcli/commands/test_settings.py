"""Every check of the settings, whoever builds them; and every option of the command line reaches its setting."""

import dataclasses
import math
from pathlib import Path

import pytest
import typer

import uncertainty_loss as ul
from ulcli.app import app
from ulcli.cli.options import settings_from
from ulcli.commands import settings
from ulcli.commands.settings import EvaluateSettings, Limit, ScoreSettings, TrainSettings
from ulcli.errors import UserError
from ulcli.model.choices import EvidenceFrom, SetMethod

SETTINGS = {"train": TrainSettings, "evaluate": EvaluateSettings, "score": ScoreSettings}
# How results are shown, and where progress goes: no part of what a command does.
SHOWN = {"form", "quiet", "no_progress"}
SHOWN_OF = {"train": SHOWN, "evaluate": SHOWN | {"output"}, "score": SHOWN | {"output", "top"}}


def train(**changes):
    return TrainSettings(**changes)


def evaluate(**changes):
    return EvaluateSettings(**{"model": Path("m.pt"), **changes})


def score(**changes):
    return ScoreSettings(**{"model": Path("m.pt"), "inputs": ["a.png"], **changes})


@pytest.mark.parametrize(
    ("build", "changes", "message"),
    [
        (train, {"flag_rate": 3.0}, "--flag-rate is 3, expected a share between 0 and 1, such as 0.05"),
        (train, {"flag_rate": 0}, "--flag-rate is 0"),
        (train, {"flag_rate": 1}, "--flag-rate is 1"),
        (train, {"flag_rate": math.nan}, "--flag-rate is nan"),
        (train, {"flag_rate": "much"}, "--flag-rate is 'much'"),
        (train, {"target_accuracy": 1.5}, "--target-accuracy is 1.5"),
        (train, {"reg_factor": math.inf}, "--reg-factor is inf"),
        (train, {"reg_factor": -1}, "--reg-factor is -1"),
        (train, {"reg_factor": math.nan}, "--reg-factor is nan"),
        (train, {"loss": "maxnorn"}, "unknown loss 'maxnorn'; did you mean 'maxnorm'"),
        (train, {"evidence_from": "stars"}, "unknown value of --evidence-from 'stars'; known: density, head"),
        (train, {"seed": -1}, f"--seed is -1, expected a whole number of 0 to {2**63 - 1}"),
        (train, {"seed": 2**63}, f"--seed is {2**63}, expected a whole number of 0 to {2**63 - 1}"),
        (train, {"seed": 2**63}, "--seed is 9223372036854775808"),
        (train, {"image_size": 0}, "--image-size is 0"),
        (train, {"crop": 0}, "--crop is 0"),
        (train, {"resize": -1}, "--resize is -1"),
        (train, {"image_size": 8, "crop": 8}, "--image-size sets both --resize and --crop"),
        (train, {"image_size": 8, "resize": 8}, "--image-size sets both --resize and --crop"),
        (train, {"resize": 8, "crop": 9}, "--crop 9 is larger than --resize 8"),
        (train, {"interpolation": "bilinaer"}, "unknown value of --interpolation 'bilinaer'; did you mean 'bilinear'"),
        (
            train,
            {"interpolation": "lanczos", "antialias": False},
            "--no-antialias does not go with --interpol",
        ),
        (
            train,
            {"mean": "imagnet"},
            "--mean is 'imagnet', expected one number, three with commas between, or one",
        ),
        (train, {"mean": "a,b"}, "--mean is 'a,b', expected one number"),
        (train, {"std": ""}, "--std is ''"),
        (train, {"hold_out": "cat"}, "--hold-out is the text 'cat', expected a list of texts"),
        (train, {"batch_size": 0}, "--batch-size is 0, expected a whole number of 1 or more"),
        (train, {"batch_size": 1.5}, "--batch-size is 1.5"),
        (train, {"batch_size": True}, "--batch-size is True"),
        (train, {"workers": 0}, "--workers is 0"),
        (evaluate, {"bootstrap": 39}, "--bootstrap is 39, expected 40 resamples or more, or 0"),
        (evaluate, {"bootstrap": -1}, "--bootstrap is -1"),
        (evaluate, {"seed": -1}, "--seed is -1"),
        (evaluate, {"shift": ["fog"]}, "unknown shift 'fog'"),
        (evaluate, {"shift": ["blur:6"]}, "'blur:6': the severity"),
        (evaluate, {"require": ["accuracy"]}, "'accuracy' is not of the form"),
        (evaluate, {"require": ["acuracy>1"]}, "did you mean 'accuracy'"),
        (evaluate, {"ood": "noise"}, "--ood is the text 'noise', expected a list of texts"),
        (evaluate, {"batch_size": 0}, "--batch-size is 0"),
        (score, {"flag_on": "vacuity"}, "'vacuity' is not of the form"),
        (score, {"flag_on": ""}, "'' is not of the form"),
        (score, {"max_flagged": "some"}, "--max-flagged is 'some', expected a count (10) or a share (5%)"),
        (score, {"max_flagged": ""}, "--max-flagged is ''"),
        (score, {"max_flagged": "101%"}, "--max-flagged is '101%'"),
        (score, {"sets": 1.0}, "--sets is 1, expected a coverage between 0 and 1, such as 0.95"),
        (score, {"set_method": "best"}, "unknown value of --set-method 'best'; known: aps, lac"),
        (score, {"inputs": "a.png"}, "INPUT is the text 'a.png'"),
        (score, {"workers": -2}, "--workers is -2"),
    ],
)
def test_what_makes_no_sense_is_refused(build, changes, message):
    with pytest.raises(UserError) as refused:
        build(**changes)
    assert message in str(refused.value)


def test_the_edges_are_fine():
    assert train(seed=2**63 - 1, reg_factor=0, batch_size=1, workers=1).threads == 1
    assert evaluate(bootstrap=40).bootstrap == 40
    assert evaluate(bootstrap=0, seed=0).shifts == []
    assert train().threads >= 1


def test_texts_become_what_they_mean():
    settings = train(data="digits:all", val="folder", evidence_from="head", mean="0.5,0.25,1", std="2")
    assert (settings.data_name.name, settings.data_name.split) == ("digits", "all")
    assert (settings.val_name.name, settings.val_name.split) == ("folder", None)
    assert settings.evidence_from is EvidenceFrom.HEAD
    assert (settings.channel_means, settings.channel_stds) == ((0.5, 0.25, 1.0), (2.0,))
    judged = evaluate(ood=["noise", "digits:train"], shift=["blur", "jpeg:1"], require=["ood_auroc>=90%"])
    assert [str(name) for name in judged.ood_names] == ["noise", "digits:train"]
    assert [str(shift) for shift in judged.shifts] == ["blur:3", "jpeg:1"]
    assert (judged.requirements[0].name, judged.requirements[0].bound) == ("ood_auroc", 0.9)
    scored = score(flag_on="typicality<0.2", max_flagged="5%", set_method="aps")
    assert scored.flag_rule(0.1)
    assert not scored.flag_rule(0.3)
    assert scored.flag_limit == Limit(0.05, is_share=True)
    assert scored.set_method is SetMethod.APS


@pytest.mark.parametrize("name", ["imagenet", "clip", "inception"])
def test_the_name_of_a_normalization_is_both_its_halves(name):
    both = train(mean=name, std=name)
    assert train(mean=name).channel_stds == train(std=name).channel_stds == both.channel_stds
    assert train(std=name).channel_means == both.channel_means
    assert train(mean=name, std="2").channel_stds == (2.0,)
    assert train(mean="0.5").channel_stds is None


def test_places():
    assert train().places.root == Path("data")
    assert not train().places.download
    assert (train(data_root=Path("x"), download=True).places.root, train(download=True).places.download) == (
        Path("x"),
        True,
    )
    assert evaluate(download=True).places is None
    assert evaluate(data_root=Path("x"), download=True).places.download
    assert score(data_root=Path("x")).places.root == Path("x")


@pytest.mark.parametrize(
    ("text", "flagged", "scored", "exceeded"),
    [
        ("0", 0, 9, False),
        ("0", 1, 9, True),
        ("3", 3, 9, False),
        ("3", 4, 9, True),
        ("50%", 5, 10, False),
        ("50%", 6, 10, True),
        ("0%", 0, 0, False),
        ("100%", 10, 10, False),
    ],
)
def test_limit(text, flagged, scored, exceeded):
    limit = Limit.parse(text)
    assert limit.exceeded(flagged, scored) is exceeded
    assert str(limit) == text


def test_losses_are_those_of_the_library():
    assert settings.losses() == {name: ul.get_loss(name).summary for name in ul.loss_names()}


@pytest.mark.parametrize("command", SETTINGS)
class TestOptions:
    def parameters(self, command):
        return {parameter.name: parameter for parameter in typer.main.get_command(app).commands[command].params}

    def test_every_setting_has_an_option_and_the_other_way_round(self, command):
        fields = {field.name for field in dataclasses.fields(SETTINGS[command])}
        assert self.parameters(command).keys() - SHOWN_OF[command] == fields

    def test_an_option_is_called_as_its_setting(self, command):
        for name, parameter in self.parameters(command).items():
            if parameter.param_type_name == "option" and name != "form":
                assert f"--{name.replace('_', '-')}" in parameter.opts

    def test_defaults_are_those_of_the_settings(self, command):
        fields = {field.name: field.default for field in dataclasses.fields(SETTINGS[command])}
        for name, parameter in self.parameters(command).items():
            if name in fields and not parameter.required and fields[name] != ():
                default = fields[name].value if hasattr(fields[name], "value") else fields[name]
                assert getattr(parameter.default, "value", parameter.default) == default, name

    def test_what_is_given_reaches_the_settings(self, command):
        given = {field.name: None for field in dataclasses.fields(SETTINGS[command])}
        required = {"evaluate": {"model": Path("m")}, "score": {"model": Path("m"), "inputs": ["i"]}}.get(command, {})
        built = settings_from({**given, **required, "batch_size": 7, "form": None, "ignored": 1}, SETTINGS[command])
        assert built == SETTINGS[command](**required, batch_size=7)
