"""Which row of a classifier stands for which class: names, numbers, and what the predictions suggest."""

import itertools
import json
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import binomtest

from ulcli.errors import UserError
from ulcli.network.classes import (
    Order,
    Origin,
    assign_rows,
    is_chance,
    is_far_better,
    match_rows,
    names_in,
    orders_by_number,
    read_class_names,
    rows_by_name,
    sample_rows,
)


def draw(num_classes, per_class, accuracy, seed, *, permuted, count=None):
    """Logits of a classifier that is right with a probability and guesses otherwise, and where its rows are."""
    random = torch.Generator().manual_seed(seed)
    count = count or num_classes
    labels = torch.arange(num_classes).repeat_interleave(per_class)
    rows = torch.randperm(count, generator=random)[:num_classes] if permuted else torch.arange(num_classes)
    logits = torch.randn(len(labels), count, generator=random)
    right = torch.rand(len(labels), generator=random) < accuracy
    logits[right, rows[labels[right]]] += 20
    return SimpleNamespace(logits=logits, labels=labels, rows=tuple(rows.tolist()))


def plain(num_classes):
    return Order(tuple(range(num_classes)), Origin.DATA)


class TestByName:
    @pytest.mark.parametrize(
        ("known", "wanted", "rows"),
        [
            (["b", "a"], ["a", "b"], [1, 0]),
            (["a", "b", "c", "d"], ["d", "b"], [3, 1]),
            (["a", "b"], ["a", "b", "c"], [0, 1, None]),
            (["Golden Retriever", "tabby_cat"], ["tabby cat", "golden-retriever"], [1, 0]),
            (["cat", "Cat"], ["Cat", "cat"], [1, 0]),  # exactly, where that is possible
            (["cat", "Cat"], ["CAT"], [None]),  # which of the two?
            (["crane", "dog", "crane"], ["dog", "crane"], [1, None]),  # ImageNet has two
            (["n01440764 tench, Tinca tinca", "n01443537 goldfish"], ["n01443537", "n01440764"], [1, 0]),
            (["n01440764", "n01443537"], ["n01443537_goldfish", "n01440764_tench"], [1, 0]),
            (["n01440764 tench, Tinca tinca", "n01443537 goldfish"], ["Goldfish", "tinca tinca"], [1, 0]),
            (["zero", "one"], ["one", "One"], [None, None]),  # two classes of the data cannot share a row
            (["a", "b"], ["A", "a "], [None, None]),  # both mean the same row
            ([], ["a"], [None]),
        ],
    )
    def test_rows(self, known, wanted, rows):
        assert rows_by_name(known, wanted) == rows

    @pytest.mark.parametrize(
        "text",
        [
            "cat\nbig dog\n\n",
            "\ufeffcat\r\nbig dog\r\n",
            '["cat", "big dog"]',
            '{"big dog": 1, "cat": 0}',
            '{"0": "cat", "1": "big dog"}',
            '{"0": ["cat"], "1": ["big", "dog"]}',
            '{"model": "vit", "id2label": {"1": "big dog", "0": "cat"}}',
            '{"epoch": 3, "class_to_idx": {"cat": 0, "big dog": 1}}',
        ],
    )
    def test_files(self, tmp_path, text):
        (tmp_path / "names").write_bytes(text.encode())
        assert read_class_names(tmp_path / "names") == ("cat", "big dog")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "holds no class names; expected one a line, or JSON"),
            (b"[1, {}]", r"holds no class names: \{\} is no class name"),
            (b"{", "holds no class names: Expecting property name"),
            (b'{"a": 0, "b": 2}', "expected the indices 0 to 1, each once"),
            (b'{"a": "b"}', "expected a mapping between names and indices"),
            (b"{}", "expected a list, or a mapping"),
            (b"\xff\xfe\x00", "is no text file"),
            (b"[" * 100_000, "holds no class names"),
        ],
    )
    def test_files_that_hold_none(self, tmp_path, content, message):
        (tmp_path / "names").write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_class_names(tmp_path / "names")

    def test_files_that_are_not_there(self, tmp_path):
        with pytest.raises(UserError, match="no such file"):
            read_class_names(tmp_path / "none")
        with pytest.raises(UserError, match="cannot read"):
            read_class_names(tmp_path)

    def test_both_directions_agree(self):
        names = [f"class {k}" for k in range(12)]
        forward = {name: k for k, name in enumerate(names)}
        backward = json.loads(json.dumps(dict(enumerate(names))))
        assert names_in(forward) == names_in(backward) == names_in(names) == tuple(names)


class TestByNumber:
    def test_twelve_folders(self):
        folders = tuple(sorted(map(str, range(12))))  # 0, 1, 10, 11, 2, ...
        numeric, *others = orders_by_number(folders, 12)
        assert numeric == Order((0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9), Origin.NUMBERS)
        assert not others  # the text order is the data's own
        labels = tuple(map(str, range(12)))  # as a list gives them
        (text,) = orders_by_number(labels, 12)
        assert [folders[row] for row in text.rows] == list(labels)

    def test_some_of_more(self):
        numeric, text = orders_by_number(("3", "10"), 12)
        assert numeric.rows == (3, 10)
        assert [sorted(map(str, range(12)))[row] for row in text.rows] == ["3", "10"]

    @pytest.mark.parametrize(
        ("classes", "count"),
        [(("0", "1", "2"), 3), (("a", "b"), 2), (("1", "01"), 2), (("1", "-2"), 2), (("3", "12"), 12), (("¹", "²"), 2)],
    )
    def test_nothing_to_suggest(self, classes, count):
        assert orders_by_number(classes, count) == []

    def test_numbers_need_not_start_at_zero(self):
        (numeric,) = orders_by_number(("1", "10", "2"), 3)
        assert numeric.rows == (0, 2, 1)


class TestAssignment:
    @pytest.mark.parametrize("count", [4, 6])
    def test_against_every_order(self, count):
        for seed in range(30):
            random = torch.Generator().manual_seed(seed)
            labels = torch.arange(4).repeat_interleave(torch.tensor([1, 5, 2, 7]))
            predicted = torch.randint(count, (len(labels),), generator=random)

            def recall(rows, predicted=predicted, labels=labels):
                return sum(float((predicted[labels == k] == rows[k]).double().mean()) for k in range(4))

            best = max(map(recall, itertools.permutations(range(count), 4)))
            assert recall(assign_rows(predicted, labels, 4, count, None)) == pytest.approx(best)

    def test_ties_go_to_what_was_expected(self):
        labels, predicted = torch.tensor([0, 1, 2]), torch.tensor([3, 3, 3])
        rows = assign_rows(predicted, labels, 3, 5, (2, 1, 4))
        assert sorted(row == prior for row, prior in zip(rows, (2, 1, 4), strict=True)) == [False, True, True]

    def test_a_frequent_class_that_is_taken_for_a_rare_one_is_no_reason_to_swap_them(self):
        labels = torch.tensor([0] * 1000 + [1] * 10)
        predicted = torch.tensor([1] * 700 + [0] * 300 + [1] * 8 + [0] * 2)
        assert assign_rows(predicted, labels, 2, 2, None) == (0, 1)


class TestMatch:
    @pytest.mark.parametrize(("num_classes", "accuracy"), [(2, 0.6), (10, 0.1), (10, 0.6), (10, 0.95), (100, 0.6)])
    @pytest.mark.parametrize("per_class", [1, 3, 10])
    def test_the_right_order_is_kept(self, num_classes, accuracy, per_class):
        for seed in range(20):
            case = draw(num_classes, per_class, accuracy, seed, permuted=False)
            match = match_rows(case.logits, case.labels, num_classes, [plain(num_classes)])
            assert match.order == plain(num_classes)
            assert match.accuracy == float((case.logits.argmax(1) == case.labels).double().mean())

    @pytest.mark.parametrize("num_classes", [10, 100])
    @pytest.mark.parametrize("accuracy", [0.85, 0.98])
    def test_another_order_is_found_from_three_images_a_class(self, num_classes, accuracy):
        right = []
        for seed in range(20):
            case = draw(num_classes, 3, accuracy, seed, permuted=True)
            match = match_rows(case.logits, case.labels, num_classes, [plain(num_classes)])
            assert match.order.origin is Origin.PREDICTIONS
            assert float(match.first_right.double().mean()) < match.accuracy
            right += [found == true for found, true in zip(match.order.rows, case.rows, strict=True)]
        assert sum(right) / len(right) > 0.95

    def test_guesses_suggest_no_order_however_many_classes(self):
        """The best order of those images would get a third of them right."""
        case = draw(300, 3, 0.0, 0, permuted=False)
        predicted = case.logits.argmax(1)
        best = torch.tensor(assign_rows(predicted, case.labels, 300, 300, None))
        assert (best[case.labels] == predicted).double().mean() > 0.25
        assert match_rows(case.logits, case.labels, 300, [plain(300)]).order == plain(300)

    def test_some_rows_of_more(self):
        case = draw(5, 4, 0.95, 0, permuted=True, count=40)
        match = match_rows(case.logits, case.labels, 5, [])
        assert match.order == Order(case.rows, Origin.PREDICTIONS)
        assert match.first_right is None

    def test_a_later_order_needs_to_be_far_better(self):
        orders = [plain(12), Order((0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9), Origin.NUMBERS)]
        case = draw(12, 3, 0.9, 0, permuted=False)
        assert match_rows(case.logits, case.labels, 12, orders).order is orders[0]
        moved = case.logits[:, list(orders[1].rows)].argsort().argsort().float()
        back = torch.empty_like(moved)
        back[:, list(orders[1].rows)] = case.logits
        match = match_rows(back, case.labels, 12, orders)
        assert match.order is orders[1]
        assert match.accuracy == float((case.logits.argmax(1) == case.labels).double().mean())


def flags(text):
    return torch.tensor([letter == "1" for letter in text])


@pytest.mark.parametrize(
    ("wins", "losses", "ties"), [(10, 0, 5), (9, 0, 0), (30, 5, 100), (12, 1, 0), (5, 9, 0), (0, 0, 9)]
)
def test_far_better_is_a_sign_test(wins, losses, ties):
    one = flags("1" * wins + "0" * losses + "1" * ties)
    other = flags("0" * wins + "1" * losses + "1" * ties)
    total = wins + losses
    expected = bool(total > 0 and binomtest(wins, total, alternative="greater").pvalue < 1e-3)
    assert is_far_better(one, other) is expected


@pytest.mark.parametrize(
    ("right", "wrong", "classes", "expected"),
    [
        (3, 27, 10, True),
        (6, 0, 2, False),  # few, but all right
        (7, 3, 2, False),  # may be good
        (15, 15, 2, True),
        (40, 260, 10, False),  # bad, but better than guessing
        (0, 100, 10, True),
        (1, 1, 2, False),
    ],
)
def test_chance(right, wrong, classes, expected):
    labels = torch.arange(right + wrong) % classes
    assert is_chance(flags("1" * right + "0" * wrong), labels, classes) is expected


def test_a_classifier_that_always_says_the_most_frequent_class_guesses():
    labels = torch.tensor([0] * 270 + [1] * 30)
    assert is_chance(labels == 0, labels, 2)


def test_a_sample_has_some_of_every_class():
    labels = torch.tensor([0] * 1000 + [2] * 2 + [1] * 50)
    rows = sample_rows(labels, 30)
    assert labels[rows].bincount().tolist() == [10, 10, 2]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert (rows[0], rows[9]) == (0, 999)
    assert sample_rows(labels, 10_000).tolist() == list(range(1052))
