"""What there is to show of each command's result: a table for people, rows, one document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ulcli.output.documents import (
    EVALUATE_COLUMNS,
    evaluate_document,
    evaluate_rows,
    info_document,
    train_document,
)
from ulcli.output.rows import Rows
from ulcli.output.shapes import Shape, View
from ulcli.output.tables import evaluate_table, info_table, score_table, train_table

if TYPE_CHECKING:
    from ulcli.commands.evaluate import EvaluateResult
    from ulcli.commands.info import InfoResult
    from ulcli.commands.score import ScoreResult
    from ulcli.commands.train import TrainResult


# What each command's result can be written as: known before the work, so that a format that cannot is refused then.
TRAIN = INFO = (Shape.TABLE, Shape.DOCUMENT)
EVALUATE = (Shape.TABLE, Shape.ROWS, Shape.DOCUMENT)
SCORE = (Shape.TABLE, Shape.ROWS)


def train_view(result: TrainResult) -> View:
    """Show the figures of a training."""
    return {Shape.TABLE: lambda: train_table(result), Shape.DOCUMENT: lambda: train_document(result)}


def evaluate_view(result: EvaluateResult) -> View:
    """Show every figure of an evaluation."""
    return {
        Shape.TABLE: lambda: evaluate_table(result),
        Shape.ROWS: lambda: Rows(EVALUATE_COLUMNS, evaluate_rows(result)),
        Shape.DOCUMENT: lambda: evaluate_document(result),
    }


def score_view(result: ScoreResult, top: int) -> View:
    """Show a row an image; the table has the `top` most uncertain ones."""
    return {
        Shape.TABLE: lambda: score_table(result.rows, top),
        Shape.ROWS: lambda: Rows(result.columns, result.rows),
    }


def info_view(result: InfoResult) -> View:
    """Show the fields of a model file."""
    return {Shape.TABLE: lambda: info_table(result), Shape.DOCUMENT: lambda: info_document(result)}
