"""The public door."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import uncertainty_loss as ul

OLD_LOSS_NAMES = [
    "clamped_exp",
    "dirichlet_fisher_regulizer",
    "dirichlet_mse_loss",
    "dirichlet_pnorm_loss",
    "evidence_to_proba",
    "evidential_loss",
    "maxnorm_loss",
    "uniform_dirichlet_kl",
]
MODULES = [module.name for module in pkgutil.walk_packages(ul.__path__, "uncertainty_loss.")]


def test_names_are_sorted_unique_and_documented():
    assert ul.__all__ == sorted(set(ul.__all__))
    for name in ul.__all__:
        assert getattr(ul, name).__doc__, name


def test_names_of_the_old_package():
    assert set(OLD_LOSS_NAMES) <= set(ul.__all__)


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module):
    failures, _ = doctest.testmod(importlib.import_module(module))
    assert failures == 0


def test_import_costs_little():
    program = (
        "import time, torch; start = time.process_time(); import uncertainty_loss; print(time.process_time() - start)"
    )
    seconds = min(
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    )
    assert seconds <= 0.05
