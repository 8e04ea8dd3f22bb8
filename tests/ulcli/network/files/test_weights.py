"""Which of several state dicts is taken, and what is told about it."""

from pathlib import Path

import pytest
import torch

from ulcli.errors import UserError
from ulcli.network.files.weights import choose_weights

PATH = Path("a.pt")
RAW = {"0.weight": torch.zeros(2, 3), "0.running_mean": torch.ones(2)}
EMA = {"0.weight": torch.ones(2, 3), "0.running_mean": torch.zeros(2)}


def chosen(content, key=None):
    found = choose_weights(content, PATH, key)
    return found.state, " | ".join(found.notes)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"model": RAW, "state_dict": EMA}, "using the weights 'state_dict'; --weights-key model for the others"),
        ({"ema": EMA}, "using EMA weights ('ema'), the only ones in the file"),
        (
            {"ema": {"model": EMA}, "model": RAW},
            "using EMA weights ('ema.model'); --weights-key model for the raw ones",
        ),
        ({**RAW, "ema": EMA}, "using EMA weights ('ema')"),
        ({"MODEL_EMA": EMA, "Net": RAW}, "using EMA weights ('MODEL_EMA'); --weights-key Net for the raw ones"),
    ],
)
def test_averaged_weights_come_first_then_the_usual_names(content, expected):
    state, notes = chosen(content)
    assert notes == expected
    assert state == EMA


@pytest.mark.parametrize(
    "ema",
    [
        {"other.weight": torch.ones(2, 3)},
        {"0.weight": torch.ones(2, 4), "0.running_mean": torch.ones(2)},
        {"0.running_mean": torch.ones(2)},  # a weight is missing, not a buffer
    ],
)
def test_averages_of_another_network_are_left_aside_and_that_is_told(ema):
    state, notes = chosen({"model": RAW, "ema": ema})
    assert state == RAW
    assert notes == (
        "the EMA weights ('ema') are not of the same network as 'model', which are used; "
        "--weights-key ema for the EMA weights"
    )


def test_averages_in_a_list_have_no_names_and_that_is_told():
    state, notes = chosen({"model": RAW, "ema": {"decay": 0.9, "shadow_params": [torch.ones(2, 3)]}})
    assert state == RAW
    assert notes == "the EMA weights in 'ema' are a list without names and are not used"


def test_an_optimizer_is_no_network():
    content = {"optimizer": {"momentum": torch.ones(2)}, "criterion": {"weight": torch.ones(2)}, "net": RAW}
    assert chosen(content) == (RAW, "")
    content.pop("net")
    with pytest.raises(UserError, match="holds no state dict"):
        chosen(content)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("model", RAW),
        ("model_ema", EMA),
        ("a.b", RAW),
        ("a.b.c", EMA),
        ("deep.er.est", RAW),
        ("flat.first", {"weight": torch.ones(1)}),
        ("flat.first.weight", None),
        ("first", {"weight": torch.ones(1)}),
        ("none", None),
        ("model.", None),
        ("", None),
    ],
)
def test_a_path_with_dots_names_a_dictionary_or_the_beginning_of_keys(key, expected):
    content = {
        "model": RAW,
        "model_ema": EMA,
        "a.b": {**RAW, "c": EMA},
        "deep": {"er.est": RAW},
        "flat": {"first.weight": torch.ones(1), "second.weight": torch.zeros(1)},
    }
    if expected is None:
        with pytest.raises(UserError, match=r"^'a\.pt' has no weights '.*'; it has 'model', 'model_ema', 'a\.b', "):
            chosen(content, key)
    else:
        assert chosen(content, key) == (expected, "")


def test_content_that_holds_itself_ends():
    content = {"epoch": 3}
    content["model"] = content["ema"] = content
    with pytest.raises(UserError, match="holds no state dict"):
        chosen(content)
    node = {"model": RAW}
    for _ in range(60):  # 2^60 paths
        node = {"net": node, "model": node}
    with pytest.raises(UserError, match="holds no state dict"):
        chosen(node)
    with pytest.raises(UserError, match="has no weights"):
        chosen(content, "model." * 200 + "x")


def test_keys_longer_than_any_networks_are_no_weights():
    with pytest.raises(UserError, match="holds no state dict"):
        chosen({"module." * 100_000: torch.ones(1)})
