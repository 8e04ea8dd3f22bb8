"""The public door."""

import doctest
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys

import pytest

import uncertainty_loss as ul

OLD_SIGNATURES = {
    "clamped_exp": "x clamp=10.0",
    "cross_entropy_uncertainty": "logits",
    "data_uncertainty": "evidence",
    "dirichlet_fisher_regulizer": "evidence target reduction='mean'",
    "dirichlet_mse_loss": "evidence target reduction='mean'",
    "dirichlet_pnorm_loss": "evidence target p_norm=4 reduction='mean'",
    "entropy": "y_proba normalize=False",
    "evidence_to_proba": "evidence",
    "evidential_loss": "evidence target reg_factor=0.0 reduction='mean'",
    "maxnorm_loss": "evidence target reg_factor=0.0 p_norm=4 reduction='mean'",
    "model_uncertainty": "evidence",
    "uncertainty": "evidence normalize=False",
    "uniform_dirichlet_kl": "evidence target reduction='mean'",
}
MODULES = [module.name for module in pkgutil.walk_packages(ul.__path__, "uncertainty_loss.")]


def test_names_are_sorted_unique_and_documented():
    assert ul.__all__ == sorted(set(ul.__all__))
    for name in ul.__all__:
        assert getattr(ul, name).__doc__, name


@pytest.mark.parametrize("name", OLD_SIGNATURES)
def test_signatures_of_the_old_package(name):
    assert name in ul.__all__
    parameters = inspect.signature(getattr(ul, name)).parameters.values()
    positional = [
        p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters if p.kind != p.KEYWORD_ONLY
    ]
    old = OLD_SIGNATURES[name].split()
    assert positional[: len(old)] == old


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module):
    failures, _ = doctest.testmod(importlib.import_module(module))
    assert failures == 0


def test_import_costs_little(tmp_path):
    # Compiled once, as every installation is, whatever the environment here says of it.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    program = (
        "import time, torch; start = time.process_time(); import uncertainty_loss; print(time.process_time() - start)"
    )
    seconds = min(
        float(
            subprocess.run(
                [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(3)
    )
    assert seconds <= 0.05
