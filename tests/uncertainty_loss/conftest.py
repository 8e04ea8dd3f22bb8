"""What tests of the library share; makes `oracle` importable beside this file and in its sub-folders."""

import pytest

from uncertainty_loss import _blocks


@pytest.fixture(autouse=True)
def _temporaries_are_kept_at_any_size(monkeypatch):
    """The batches of tests are small; what is kept for large ones would not be seen."""
    monkeypatch.setattr(_blocks, "_SMALLEST", 0)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(_blocks, "_BLOCK", 8)
