"""Every row of the table of forms: read with the right weights, or refused with the line that it names."""

from pathlib import Path

import pytest
import torch
from forms import ACCEPTED, REFUSED, STATE, outcome

ROOT = Path(__file__).parents[3]
DEPRECATED = pytest.mark.filterwarnings(
    "ignore:.*quantiz.*", "ignore:.*torch.jit.*", "ignore:.*sparse.*", "ignore::DeprecationWarning"
)


@pytest.mark.parametrize("form", ACCEPTED, ids=lambda form: form.name)
def test_what_is_read_arrives_with_its_weights(tmp_path, form):
    line, network = outcome(form, tmp_path)
    assert line == form.outcome
    arrived = network.state_dict()
    for key, value in (STATE if form.expected is None else form.expected).items():
        assert arrived[key].dtype in (torch.float32, torch.int64)
        assert torch.equal(arrived[key], value.to(arrived[key].dtype)), key


@DEPRECATED
@pytest.mark.parametrize("form", REFUSED, ids=lambda form: form.name)
def test_what_is_refused_is_named_with_the_way_out(tmp_path, form):
    line, network = outcome(form, tmp_path)
    assert line == form.outcome
    assert network is None


def test_names_are_of_one_row_each():
    names = [form.name for form in (*ACCEPTED, *REFUSED)]
    assert len(set(names)) == len(names)


def test_the_table_in_the_documents_has_these_rows():
    text = (ROOT / "docs" / "forms.md").read_text("utf-8")
    rows = [
        line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| form |", "| --- |"))
    ]
    assert rows == [f"| {form.name} | {form.outcome} |" for form in (*ACCEPTED, *REFUSED)]
