"""Parts are disjoint, complete, stratified, and the same on every day."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulcli.data.splits import stratified_parts

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=200).map(np.array)
SHARES = st.lists(st.floats(0.05, 1), min_size=1, max_size=4).map(
    lambda weights: {f"part{k}": weight / sum(weights) for k, weight in enumerate(weights)}
)


@given(LABELS, SHARES)
def test_disjoint_complete_and_stratified(labels, shares):
    parts = stratified_parts(labels, shares)
    assert list(parts) == list(shares)
    together = np.concatenate(list(parts.values()))
    np.testing.assert_array_equal(np.sort(together), np.arange(len(labels)))
    for name, part in parts.items():
        assert (np.diff(part) > 0).all()
        for label in np.unique(labels):
            expected = shares[name] * (labels == label).sum()
            assert abs((labels[part] == label).sum() - expected) <= 1 + 1e-9


@given(LABELS)
def test_the_usual_shares_and_always_the_same_parts(labels):
    parts = stratified_parts(labels)
    again = stratified_parts(labels.copy(), {"train": 0.6, "val": 0.2, "test": 0.2})
    for name in ("train", "val", "test"):
        np.testing.assert_array_equal(parts[name], again[name])


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_members_are_drawn_not_cut(part):
    # Files of a class are often in order of time: the last fifth would be another day's weather.
    chosen = stratified_parts(np.zeros(1000, int))[part]
    assert abs(chosen.mean() - 500) < 60


def test_the_parts_of_all_days_to_come():
    # Models in use were fitted on these train images: with other parts, what is tested was trained on.
    labels = np.array([0, 1] * 10)
    parts = stratified_parts(labels)
    assert {name: part.tolist() for name, part in parts.items()} == {
        "train": [0, 1, 5, 6, 7, 8, 9, 10, 11, 14, 15, 18],
        "val": [4, 12, 17, 19],
        "test": [2, 3, 13, 16],
    }
    assert stratified_parts(labels, {"train": 5 / 6, "val": 1 / 6})["val"].tolist() == [2, 3, 13, 16]
