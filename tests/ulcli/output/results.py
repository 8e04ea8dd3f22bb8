"""Results of the commands, as small as can be."""

from pathlib import Path

from ulcli.commands.evaluate import EvaluateResult
from ulcli.commands.train import TrainResult
from ulcli.evaluation.estimates import Estimate
from ulcli.evaluation.ood import OODResult


def scores(name="vacuity"):
    figures = {"aupr_in": 0.92, "aupr_out": 0.93, "fpr95": 0.44, "fpr95_in": 0.33}
    values = {key: Estimate(value) for key, value in figures.items()}
    return {name: {"auroc": Estimate(0.91, 0.9, 0.925), **values}}


def evaluation(**changes):
    fields = {
        "model": "model.pt",
        "data": "digits:test",
        "n": 1234,
        "metrics": {"accuracy": Estimate(0.97), "nll": Estimate(0.1, 0.09, 0.12)},
        "baseline": {"accuracy": Estimate(0.96), "nll": Estimate(0.2)},
        "ood": {"noise": OODResult("far", 500, scores())},
    }
    return EvaluateResult(**{**fields, **changes})


def training(**changes):
    figures = {"accuracy": 0.9, "nll": 0.31, "ece": 0.05}
    after, uncalibrated = {**figures, "nll": 0.27}, {**figures, "nll": 0.29}
    fields = {"path": Path("m.pt"), "before": figures, "uncalibrated": uncalibrated, "after": after, "images": 1000}
    fields |= {"validation_images": 1234, "unreadable": 0, "epochs": 3, "seconds": 1.25}
    fields |= {"flags": "vacuity>0.1", "temperature": 1.5}
    return TrainResult(**{**fields, **changes})
