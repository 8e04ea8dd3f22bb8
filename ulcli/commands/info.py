"""`ul info`: what a model file holds. Builds no network, so it needs neither torchvision nor the user's code."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ulcli.evaluation.seen import PROMISE
from ulcli.model.file import Model


@dataclass(frozen=True)
class InfoResult:
    """A model file's contents as plain values, weights as counts."""

    path: str
    size: int  # bytes
    fields: dict[str, Any]


def info(path: Path | str) -> InfoResult:
    """Read a model file and describe it."""
    path = Path(path)
    model = Model.load(path)
    head, predictor = model.predictor.head, model.predictor
    fields: dict[str, Any] = {
        "architecture": model.backbone.arch,
        "parameters": sum(tensor.numel() for tensor in model.backbone.state.values()),
        "features": head.linear.weight.shape[1],
        "classes": list(model.classes),
        "transform": model.transform.to_dict(),
        "loss": model.loss,
        "evidence": head.evidence,
        "prior": head.prior,
        "temperature": head.temperature,
        "evidence_from": predictor.evidence_from.value,
        "density": {"taps": list(model.backbone.taps), "dimensions": len(predictor.density.centre)},
        "flags": asdict(model.flags),
        "validation": model.validation,
        "promises": PROMISE,
        "data": model.data,
        "provenance": model.provenance,
    }
    return InfoResult(str(path), path.stat().st_size, fields)
