"""Logits are found in tuples, dictionaries and objects, by name before width before order."""

from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ulcli.errors import UserError
from ulcli.network.anatomy.outputs import choose_matrix, first_tensor, matrices

LOGITS, FEATURES = torch.arange(6.0).reshape(2, 3), torch.ones(2, 8)


@dataclass
class Output:
    loss: Any
    scores: Any


Named = namedtuple("Named", ["aux", "logits"])


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (LOGITS, [LOGITS]),
        (LOGITS[:, :, None, None], [LOGITS]),
        (LOGITS[:, None], [LOGITS]),
        (LOGITS[:, 0], [LOGITS[:, :1]]),
        ((LOGITS, None), [LOGITS]),
        ([FEATURES, LOGITS], [FEATURES, LOGITS]),
        ([LOGITS[:, 0], LOGITS], [LOGITS, LOGITS[:, :1]]),
        ({"features": FEATURES, "logits": LOGITS}, [LOGITS]),
        ({"a": {"logits": LOGITS, "b": FEATURES}}, [LOGITS]),
        (SimpleNamespace(features=FEATURES, logits=LOGITS), [LOGITS]),
        (Named(FEATURES, LOGITS), [LOGITS]),
        (Output(torch.tensor(1.0), LOGITS), [LOGITS]),
        (Output(None, {"map": torch.ones(2, 3, 4), "out": LOGITS}), [LOGITS]),
        ((LOGITS.argmax(1), torch.ones(3, 3), LOGITS), [LOGITS]),
    ],
)
def test_every_matrix_of_an_output(output, found):
    got = matrices(output, 2, "mine")
    assert len(got) == len(found)
    assert all(torch.equal(one, other) for one, other in zip(got, found, strict=True))


@pytest.mark.parametrize(
    ("output", "given"),
    [
        (torch.ones(2, 3, 4), r"\(2, 3, 4\)"),
        (torch.ones(3, 4), r"\(3, 4\)"),
        (torch.ones(()), r"\(\)"),
        (torch.ones(2, 4, dtype=torch.int64), r"\(2, 4\)"),
        ((), "tuple"),
        ("text", "str"),
        (None, "NoneType"),
        ({"logits": torch.ones(2, 3, 4)}, "dict"),
    ],
)
def test_no_logits_at_all(output, given):
    with pytest.raises(UserError, match=f"'mine' is no image classifier: it gives {given}, expected a tensor"):
        matrices(output, 2, "mine")


def test_an_object_that_holds_itself_comes_to_an_end():
    endless = SimpleNamespace(logit=LOGITS)
    endless.me = endless
    assert matrices(endless, 2, "mine")


def test_width_decides_before_order():
    assert choose_matrix([FEATURES, LOGITS], [3, 8]) == 1
    assert choose_matrix([FEATURES, LOGITS], [5, 8, 3]) == 0
    assert choose_matrix([FEATURES, LOGITS], []) == 0


def test_first_tensor():
    assert first_tensor(LOGITS) is LOGITS
    assert first_tensor((LOGITS, 1)) is LOGITS
    assert first_tensor((1, LOGITS)) is first_tensor(()) is first_tensor(None) is None
