"""Tables show names as they are: no markup, no control characters, nothing cut on a pipe."""

import io
import math
import os

import pytest
from results import evaluation, scores, training

from ulcli.commands.evaluate import Requirement
from ulcli.commands.info import InfoResult
from ulcli.evaluation.estimates import Estimate
from ulcli.evaluation.ood import OODResult, ShiftResult
from ulcli.evaluation.verdict import Verdict
from ulcli.expressions import Condition
from ulcli.output.tables import evaluate_table, info_table, print_table, score_table, train_table

MARKUP = ["[red]a[/red].png", "[/red]", "[link=x://y]a", ":smile:.png", r"\[bold]", "[nan, nan]"]


def printed(table):
    stream = io.StringIO()
    print_table(table, stream)
    return stream.getvalue()


def row(path="a.png", vacuity=0.5, error=None, **more):
    figures = dict.fromkeys(("confidence", "dissonance", "predictive_entropy", "mutual_information"), 0.25)
    if error is not None:
        figures, vacuity = dict.fromkeys(figures), None
    return {"path": path, "predicted": "cat", **figures, "vacuity": vacuity, "flagged": False, "reason": None} | {
        "error": error,
        **more,
    }


def lines(text, word):
    return [line for line in text.splitlines() if word in line]


def test_the_most_uncertain_rows_first_and_the_failed_last():
    rows = [row(f"{number}.png", number / 10) for number in (3, 9, 1, 7)]
    rows.insert(1, row("broken.png", error="no such file"))
    text = printed(score_table(iter(rows), top=3))
    shown = [line.split()[0] for line in lines(text, ".png")]
    assert shown == ["9.png", "7.png", "3.png", "broken.png"]
    assert "no such file" in lines(text, "broken")[0]
    assert "0.9000" in lines(text, "9.png")[0]


def test_a_table_holds_no_more_rows_than_it_shows():
    alive = 0
    most = 0

    class Counted(dict):
        def __init__(self, *args):
            nonlocal alive, most
            super().__init__(*args)
            alive += 1
            most = max(most, alive)

        def __del__(self):
            nonlocal alive
            alive -= 1

    errors = (None, "no such file")
    score_table((Counted(row(str(number), number % 97, errors[number % 2])) for number in range(1000)), top=5)
    assert most <= 15


def test_labels_and_flags():
    assert "label" not in printed(score_table([row()], 5))
    text = printed(score_table([row(label="dog", flagged=True, reason="unfamiliar")], 5))
    assert "label" in text
    assert "dog" in lines(text, "a.png")[0]
    assert "unfamiliar" in lines(text, "a.png")[0]


def test_prediction_sets():
    assert " set" not in printed(score_table([row()], 5))
    every = "|".join(map(str, range(100)))
    text = printed(score_table([row(set="3|8"), row("b.png", 0.9, set=every), row("c.png", error="bad", set=None)], 5))
    assert lines(text, "reason")[0].split()[-2:] == ["set", "error"]
    assert lines(text, "a.png")[0].split()[-1] == "3|8"
    assert every in "".join(text.split())  # folded, never cut


@pytest.mark.parametrize("name", MARKUP)
def test_markup_in_names_is_text(name):
    rows = [row(name, label=name), row(name, error=f"damaged image: {name}", label=name)]
    rows[0]["predicted"] = name
    text = printed(score_table(rows, 5))
    assert text.count(name) == 6
    assert printed(info_table(InfoResult(name, 1, {"classes": [name, name], "data": {"name": name}}))).count(name) == 4
    ood = {name: OODResult("far", 5, scores(name))}
    text = printed(evaluate_table(evaluation(data=name, ood=ood)))
    assert text.count(name) == 3


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31mred.png", r"\x1b[31mred.png"),
        ("two\nlines.png", r"two\nlines.png"),
        ("back\x08\rspace.png", r"back\x08\rspace.png"),
        ("left\u202eright.png", r"left\u202eright.png"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\udce9.png"),
        ("äöü 日本.png", "äöü 日本.png"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(name, shown):
    text = printed(score_table([row(name), row("x", error=f"damaged: {name}")], 5))
    assert text.count(shown) == 2
    assert "\x1b" not in text
    assert printed(info_table(InfoResult(name, 1, {"classes": [name, name]}))).count(shown) == 3


def test_nothing_is_cut_on_a_pipe():
    text = printed(score_table([row("Q" * 400)], 5))
    assert text.count("Q") == 400
    assert "…" not in text


def test_numbers_that_are_missing():
    text = printed(score_table([row(confidence=math.nan)], 5))
    assert "nan" not in text.split()


def test_an_evaluation():
    text = printed(evaluate_table(evaluation()))
    assert "digits:test: 1,234 images" in text
    assert lines(text, "accuracy")[0].split() == ["accuracy", "0.9700", "0.9600"]
    assert lines(text, "nll")[0].split() == ["nll", "0.1000", "[0.0900,", "0.1200]", "0.2000"]
    assert "against noise (far): 500 images" in text
    assert lines(text, "vacuity")[0].split() == [
        *("vacuity", "0.9100", "[0.9000,", "0.9250]"),
        *("0.9200", "0.9300", "0.4400", "0.3300"),
    ]
    assert "requirement" not in text


def test_a_shift_has_a_column_and_a_block():
    shift = ShiftResult(1234, {"accuracy": Estimate(0.5), "nll": Estimate(0.7)}, scores("energy"))
    text = printed(evaluate_table(evaluation(shift={"blur:3": shift})))
    assert lines(text, "cross-entropy")[0].split() == ["evidential", "head", "cross-entropy", "blur:3"]
    assert lines(text, "accuracy")[0].split() == ["accuracy", "0.9700", "0.9600", "0.5000"]
    assert "against the same images with blur:3" in text
    assert "0.9100" in lines(text, "energy")[0]


def test_a_figure_that_the_baseline_lacks_leaves_its_cell_empty():
    text = printed(evaluate_table(evaluation(metrics={"flag_rate": Estimate(0.05)}, baseline={})))
    assert lines(text, "flag_rate")[0].split() == ["flag_rate", "0.0500"]


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Estimate(0.02, 0.01, 0.03), "better than the best baseline (knn) on this data: mean AUROC 0.9700 to 0.9500, "),
        (Estimate(-0.02, -0.03, -0.01), "worse than the best baseline"),
        (Estimate(0.02, -0.01, 0.05), "not told apart from the best baseline"),
        (Estimate(0.02), "better than the best baseline"),
        (Estimate(-0.02), "no better than the best baseline"),
    ],
)
def test_the_verdict_closes_the_table(difference, words):
    verdict = Verdict(0.97, "knn", 0.95, difference)
    last = printed(evaluate_table(evaluation(verdict=verdict))).splitlines()[-1]
    assert words in last
    assert f"difference {difference.value:+.4f}" in last


def test_requirements():
    conditions = Condition("accuracy", ">=", 0.9), Condition("accuracy", ">", 0.99), Condition("ood_auroc", ">", 0.5)
    values = (0.97, 0.97, math.nan)
    requirements = tuple(map(Requirement, conditions, values))
    text = printed(evaluate_table(evaluation(requirements=requirements)))
    assert lines(text, "accuracy>=0.9")[0].split() == ["accuracy>=0.9", "0.9700", "yes"]
    assert lines(text, "accuracy>0.99")[0].split() == ["accuracy>0.99", "0.9700", "NO"]
    assert lines(text, "ood_auroc")[0].split() == ["ood_auroc>0.5", "NO"]


def test_a_training():
    text = printed(train_table(training()))
    assert "1,234 validation images" in text
    heading = lines(text, "before")[0]
    assert heading.split() == ["before", "(cross-entropy)", "uncalibrated", "after", "(evidential)"]
    assert len(heading.rstrip()) <= 80  # what a terminal shows without folding
    assert lines(text, "nll")[0].split() == ["nll", "0.3100", "0.2900", "0.2700"]
    assert lines(text, "seconds")[0].split() == ["seconds", "1.2"]


def test_a_models_fields():
    fields = {"loss": {"name": "maxnorm", "reg_factor": 0.01}, "classes": list(map(str, range(100))), "prior": 1.0}
    text = printed(info_table(InfoResult("m.pt", 1, fields)))
    assert "name maxnorm, reg_factor 0.01" in text
    assert "18, 19, ... 100 in all" in text


def test_standard_output_is_where_tables_go(capsys):
    print_table(train_table(training()))
    assert "validation images" in capsys.readouterr().out
