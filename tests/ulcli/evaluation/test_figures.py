"""The registry of metrics agrees with what is computed, with the documents, and with its own word on directions."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ulcli.evaluation.figures import METRICS, REQUIREMENTS, Family, of_family
from uncertainty_loss import metrics

COMMANDS = Path(__file__).parents[3] / "docs" / "commands.md"


def replicates(family, sharp):
    """What the library computes; with a smaller `sharp` classes and sets are harder to tell apart."""
    random = np.random.default_rng(0)
    once = np.ones((400, 1), np.uint8)
    truth = random.integers(3, size=400)
    logits = random.normal(size=(400, 3)) + sharp * np.eye(3)[truth]
    p = np.exp(3 * logits) / np.exp(3 * logits).sum(1, keepdims=True)
    if family is Family.CLASSIFICATION:
        return metrics.classification_replicates(p, truth, once)
    if family is Family.SELECTIVE:
        return metrics.selective_replicates(p.max(1), p.argmax(1) == truth, once)
    return metrics.ood_replicates(random.normal(size=400), random.normal(sharp, size=400), once, once)


COMPUTED = [Family.CLASSIFICATION, Family.SELECTIVE, Family.OOD]


@pytest.mark.parametrize("family", COMPUTED)
def test_every_metric_that_is_computed_is_registered(family):
    assert {metric.name for metric in of_family(family)} == set(replicates(family, 1.0))


@pytest.mark.parametrize("family", COMPUTED)
def test_the_better_direction(family):
    bad, good = replicates(family, 0.5), replicates(family, 4.0)
    for metric in of_family(family):
        better = (
            good[metric.name] > bad[metric.name] if metric.better == "higher" else good[metric.name] < bad[metric.name]
        )
        assert better, metric.name


def test_only_calibration_errors_are_lifted_by_chance():
    assert {name for name, metric in METRICS.items() if metric.lifted} == {"ece", "adaptive_ece", "classwise_ece"}


def test_requirements_are_single_numbers():
    assert set(METRICS) - set(REQUIREMENTS) == {"auroc", "aupr_in", "aupr_out", "fpr95", "fpr95_in"}


def test_the_documents_list_every_metric():
    rows = [line for line in COMMANDS.read_text().splitlines() if line.startswith("| `")]
    for name, metric in METRICS.items():
        assert f"| `{name}` | {metric.meaning} | {metric.better} |" in rows


def test_names_cost_no_torch():
    code = "import sys, ulcli.evaluation.figures; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
