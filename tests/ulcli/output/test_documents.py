"""The JSON that scripts rely on, and the same as rows."""

import io
import json
import math
from pathlib import Path

from results import evaluation, scores, training

from ulcli.commands.evaluate import Requirement
from ulcli.commands.info import InfoResult
from ulcli.evaluation.estimates import Estimate
from ulcli.evaluation.ood import OODResult, ShiftResult
from ulcli.evaluation.verdict import Verdict
from ulcli.expressions import Condition
from ulcli.output.documents import EVALUATE_COLUMNS, evaluate_document, evaluate_rows, info_document, train_document
from ulcli.output.rows import Rows, to_json, write_csv

FIGURES = {"auroc": 0.91, "aupr_in": 0.92, "aupr_out": 0.93, "fpr95": 0.44, "fpr95_in": 0.33}
BOUNDS = {"auroc": [0.9, 0.925], **{key: [None, None] for key in list(FIGURES)[1:]}}
SCORES = {"scores": {"vacuity": FIGURES}, "bounds": {"vacuity": BOUNDS}}


def test_the_promised_shape_of_an_evaluation():
    result = evaluation(requirements=(Requirement(Condition("accuracy", ">=", 0.9), 0.97),))
    assert json.loads(to_json(evaluate_document(result))) == {
        "model": "model.pt",
        "data": "digits:test",
        "n": 1234,
        "metrics": {
            "accuracy": {"value": 0.97, "low": None, "high": None},
            "nll": {"value": 0.1, "low": 0.09, "high": 0.12},
        },
        "baseline": {
            "accuracy": {"value": 0.96, "low": None, "high": None},
            "nll": {"value": 0.2, "low": None, "high": None},
        },
        "ood": {"noise": {"kind": "far", "n": 500, **SCORES}},
        "shift": {},
        "verdict": None,
        "requirements": [{"requirement": "accuracy>=0.9", "value": 0.97, "met": True}],
    }


SHIFTED = ShiftResult(7, {"accuracy": Estimate(0.6, 0.5, 0.7)}, scores())


def test_shifts_and_the_verdict_of_an_evaluation():
    verdict = Verdict(0.9, "knn", 0.8, Estimate(0.1, 0.05, 0.15))
    result = evaluation(shift={"blur:3": SHIFTED}, verdict=verdict)
    document = json.loads(to_json(evaluate_document(result)))
    assert document["shift"] == {
        "blur:3": {"n": 7, "metrics": {"accuracy": {"value": 0.6, "low": 0.5, "high": 0.7}}, **SCORES}
    }
    assert document["verdict"].startswith("flags by vacuity are better than the best baseline (knn) on this data")
    rows = [tuple(row.values()) for row in evaluate_rows(result) if row["set"] == "blur:3"]
    assert rows[0] == ("blur:3", 7, "vacuity", "auroc", 0.91, 0.9, 0.925)
    assert rows[-1] == ("blur:3", 7, "head", "accuracy", 0.6, 0.5, 0.7)


def test_what_is_not_a_number_is_null():
    result = evaluation(
        metrics={"nll": Estimate(math.inf, math.nan)},
        baseline={},
        ood={"x": OODResult("far", 1, {"vacuity": {"auroc": Estimate(math.nan)}})},
        requirements=(Requirement(Condition("ood_auroc", ">", 0.5), math.nan),),
    )
    document = json.loads(to_json(evaluate_document(result)))
    assert document["metrics"]["nll"] == {"value": None, "low": None, "high": None}
    assert document["ood"]["x"]["scores"]["vacuity"]["auroc"] is None
    assert document["requirements"] == [{"requirement": "ood_auroc>0.5", "value": None, "met": False}]


def test_an_evaluation_as_rows():
    rows = list(evaluate_rows(evaluation()))
    assert all(tuple(row) == EVALUATE_COLUMNS for row in rows)
    assert [tuple(row.values()) for row in rows] == [
        ("digits:test", 1234, "head", "accuracy", 0.97, None, None),
        ("digits:test", 1234, "head", "nll", 0.1, 0.09, 0.12),
        ("digits:test", 1234, "baseline", "accuracy", 0.96, None, None),
        ("digits:test", 1234, "baseline", "nll", 0.2, None, None),
        ("noise", 500, "vacuity", "auroc", 0.91, 0.9, 0.925),
        ("noise", 500, "vacuity", "aupr_in", 0.92, None, None),
        ("noise", 500, "vacuity", "aupr_out", 0.93, None, None),
        ("noise", 500, "vacuity", "fpr95", 0.44, None, None),
        ("noise", 500, "vacuity", "fpr95_in", 0.33, None, None),
    ]
    stream = io.StringIO()
    write_csv(Rows(EVALUATE_COLUMNS, rows), stream)
    assert stream.getvalue().splitlines()[1] == "digits:test,1234,head,accuracy,0.97,,"


def test_a_training():
    document = json.loads(to_json(train_document(training(path=Path("a/m.pt"), temperature=math.inf))))
    assert document["path"] == "a/m.pt"
    assert document["after"] == {"accuracy": 0.9, "nll": 0.27, "ece": 0.05}
    assert document["temperature"] is None
    assert document["flags"] == "vacuity>0.1"
    assert document["validation_images"] == 1234


def test_a_model():
    fields = {"classes": ("a", "b"), "transform": {"mean": [0.1234567890123, math.nan]}, "parameters": 7}
    assert json.loads(to_json(info_document(InfoResult("m.pt", 99, fields)))) == {
        "path": "m.pt",
        "size": 99,
        "classes": ["a", "b"],
        "transform": {"mean": [0.12345679, None]},
        "parameters": 7,
    }
