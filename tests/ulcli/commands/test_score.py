"""`score` as a function: every setting reaches the rows, and how a run ends."""

import io
import itertools
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from known_columns import REASONS, ROW

from ulcli.commands.score import score
from ulcli.commands.settings import ScoreSettings
from ulcli.data.catalog import DataName, Places, labelled_set
from ulcli.engine import local
from ulcli.errors import ExitCode, UserError
from ulcli.model.choices import EvidenceFrom
from ulcli.model.file import Model
from ulcli.model.flags import Flags
from ulcli.model.sets import PredictionSets
from ulcli.network.backbone import Backbone

IMAGES = 12
MODELS = ["digits_model", "letters_model"]


@pytest.fixture(scope="module")
def letters_model(digits_model, tmp_path_factory):
    """A second model: other class names, evidence from the head, and a threshold for ambiguous images."""
    model, path = Model.load(digits_model), tmp_path_factory.mktemp("letters") / "letters.pt"
    replace(
        model,
        classes=tuple("abcdefghij"),
        predictor=replace(model.predictor, evidence_from=EvidenceFrom.HEAD),
        flags=Flags(0.05, vacuity=0.002, target_accuracy=0.9, doubt=0.2),
    ).save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Some digits as files, without labels."""
    digits, path = labelled_set(DataName("digits"), "test", Places()), tmp_path_factory.mktemp("digits")
    for index in range(IMAGES):
        digits.load(30 * index).save(path / f"{index:02}.png")
    return path


@pytest.fixture
def spoilt(folder, tmp_path):
    """The same with one file that is no image."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "05.png").write_bytes(b"no image")
    return tmp_path


@pytest.fixture
def run(digits_model, folder, recorder):
    """The result of scoring, and its rows."""

    def scored(inputs=(folder,), model=digits_model, **changes):
        settings = ScoreSettings(model=model, inputs=list(map(str, inputs)), **changes)
        result = score(settings, recorder)
        return result, list(result.rows)

    return scored


def column(rows, name):
    return np.array([row[name] for row in rows])


def wide(rows, kind, classes):
    return np.array([[row[f"{kind}_{name}"] for name in classes] for row in rows])


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_what_the_network_and_the_head_give(run, folder, request, name):
    path = request.getfixturevalue(name)
    model = Model.load(path)
    result, rows = run(model=path, alpha=True, probs=True)
    assert list(rows[0]) == result.columns
    assert column(rows, "path").tolist() == [str(folder / f"{index:02}.png") for index in range(IMAGES)]
    alpha, p = wide(rows, "alpha", model.classes), wide(rows, "p", model.classes)
    if name == "letters_model":  # of evidence from the head the formula is short
        sets = labelled_set(DataName("digits"), "test", Places())
        x = torch.stack([model.transform(sets.load(30 * index)) for index in range(IMAGES)])
        features = model.backbone.build().network[:-1](x)
        head = model.predictor.head
        outputs = (features @ head.linear.weight.T + head.linear.bias).numpy()
        np.testing.assert_allclose(alpha, np.exp((outputs / head.temperature).clip(-10, 10)) + head.prior, rtol=1e-4)
    np.testing.assert_allclose(p, alpha / alpha.sum(1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(column(rows, "confidence"), p.max(1), rtol=1e-12)
    np.testing.assert_allclose(column(rows, "vacuity"), 10 / alpha.sum(1), rtol=1e-12)
    assert column(rows, "predicted").tolist() == [model.classes[k] for k in p.argmax(1)]
    assert all(row["error"] is None for row in rows)


@pytest.mark.parametrize("name", MODELS)
def test_the_thresholds_of_the_model_flag_unless_others_are_given(run, request, name):
    path = request.getfixturevalue(name)
    flags = Model.load(path).flags
    doubt = math.inf if flags.doubt is None else flags.doubt
    result, rows = run([request.getfixturevalue("folder"), "photos"], model=path)
    expected = [
        "unfamiliar" if row["vacuity"] > flags.vacuity else "ambiguous" if 1 - row["confidence"] > doubt else None
        for row in rows
    ]
    assert column(rows, "reason").tolist() == expected
    assert column(rows, "flagged").tolist() == [reason is not None for reason in expected]
    assert len(set(expected)) == (2 if name == "digits_model" else 3)
    assert result.flagged_on == str(flags)
    assert result.tally.flagged == sum(reason is not None for reason in expected)


@pytest.mark.parametrize("measure", REASONS)
@pytest.mark.parametrize(("symbol", "compare"), [(">", np.greater), ("<=", np.less_equal)])
def test_flag_on(run, measure, symbol, compare):
    values = column(run()[1], measure)
    bound = float(f"{np.median(values):.12g}")
    result, rows = run(flag_on=f"{measure}{symbol}{bound!r}")
    flagged = compare(column(rows, measure), bound)
    assert column(rows, "flagged").tolist() == flagged.tolist()
    assert column(rows, "reason").tolist() == [REASONS[measure] if each else None for each in flagged]
    assert 0 < flagged.sum() < IMAGES
    assert result.flagged_on == f"{measure}{symbol}{bound:g}"
    assert result.summary == f"12 images: {flagged.sum()} flagged ({measure}{symbol}{bound:g}), 0 unreadable"


@pytest.mark.parametrize(
    ("limit", "status"),
    [
        *(("11", 1), ("12", 0), ("13", 0), ("0", 1), ("99%", 1), ("100%", 0)),
        *(("91.6%", 1), (None, 0)),  # 11 of 12 are 91.67%
    ],
)
def test_max_flagged_is_a_count_or_a_share_that_may_be_reached(run, limit, status):
    result, _ = run(flag_on="vacuity>-1", max_flagged=limit)
    assert result.status == status
    assert result.failures == ((f"more than --max-flagged {limit}: 12 of 12 images",) if status else ())


@pytest.mark.parametrize(("limit", "status"), [("41.6%", 1), ("41.7%", 0), ("4", 1), ("5", 0)])
def test_a_share_of_the_images(run, limit, status):
    vacuity = sorted(row["vacuity"] for row in run()[1])
    bound = (vacuity[6] + vacuity[7]) / 2  # five of twelve lie above
    result, _ = run(flag_on=f"vacuity>{bound!r}", max_flagged=limit)
    assert (result.tally.flagged, result.status) == (5, status)


@pytest.mark.parametrize(("unreadable", "gate"), [*itertools.product([False, True], repeat=2)])
def test_every_combination_of_unreadable_images_and_the_gate(run, folder, spoilt, unreadable, gate):
    limit = "91%" if gate else "100%"
    result, rows = run([spoilt if unreadable else folder], flag_on="vacuity>0", max_flagged=limit)
    assert result.status is (ExitCode.USAGE if unreadable else ExitCode.GATE if gate else ExitCode.OK)
    readable = 11 if unreadable else 12
    assert result.failures == ((f"more than --max-flagged 91%: {readable} of {readable} images",) if gate else ())
    tail = "1 unreadable" if unreadable else "0 unreadable"
    assert result.summary == f"12 images: {readable} flagged (vacuity>0), {tail}"
    assert (result.tally.rows, result.tally.scored, result.tally.errors) == (12, readable, 12 - readable)
    assert sum(row["error"] is not None for row in rows) == 12 - readable


def test_shares_are_of_the_images_that_could_be_read(run, spoilt):
    vacuity = sorted(row["vacuity"] for row in run([spoilt])[1] if row["error"] is None)
    bound = (vacuity[4] + vacuity[5]) / 2  # six of eleven lie above: 54.5%, of twelve it were 50%
    assert run([spoilt], flag_on=f"vacuity>{bound!r}", max_flagged="54%")[0].failures
    assert not run([spoilt], flag_on=f"vacuity>{bound!r}", max_flagged="55%")[0].failures


def test_counts_grow_with_the_rows(digits_model, folder):
    result = score(ScoreSettings(model=digits_model, inputs=[str(folder)], flag_on="vacuity>0", max_flagged="1"))
    assert (result.tally.rows, result.status, result.failures) == (0, 0, ())
    next(result.rows)
    assert (result.tally.rows, result.tally.flagged, result.status) == (1, 1, 0)
    next(result.rows)
    assert (result.tally.rows, result.tally.flagged, result.status) == (2, 2, 1)


def test_a_summary_of_thousands_has_separators(digits_model, folder):
    result = score(ScoreSettings(model=digits_model, inputs=[str(folder)], max_flagged="2"))
    result.tally.rows, result.tally.flagged, result.tally.errors = 1_234_567, 65_432, 1_000
    assert result.summary.startswith("1,234,567 images: 65,432 flagged (vacuity>")
    assert result.summary.endswith("), 1,000 unreadable")
    assert result.failures == ("more than --max-flagged 2: 65,432 of 1,233,567 images",)


@pytest.mark.parametrize(("probs", "alpha", "sets"), [*itertools.product([False, True], [False, True], [None, 0.9])])
def test_columns_that_are_asked_for(run, probs, alpha, sets):
    result, rows = run(probs=probs, alpha=alpha, sets=sets)
    extra = ["set"] if sets else []
    extra += [f"p_{k}" for k in range(10)] if probs else []
    extra += [f"alpha_{k}" for k in range(10)] if alpha else []
    assert result.columns == list(rows[0]) == [*ROW, *extra]


@pytest.mark.parametrize("coverage", [0.6, 0.99])
def test_sets_by_either_method(run, digits_model, coverage):
    model = Model.load(digits_model)
    rank = math.ceil((len(model.sets.lac) + 1) * coverage) - 1
    for method in ("lac", "aps"):
        rows = run(["digits"], sets=coverage, set_method=method, probs=True)[1]
        limit = float(getattr(model.sets, method).sort().values[rank])
        p = wide(rows, "p", range(10))
        if method == "lac":
            inside = 1 - p <= limit
        else:  # minus the mass of a class and of those after it
            inside = np.array([[-row[row <= each].sum() <= limit for each in row] for row in p])
        inside[np.arange(len(p)), p.argmax(1)] = True
        inside[column(rows, "reason") == "unfamiliar"] = True
        assert column(rows, "set").tolist() == ["|".join(map(str, np.flatnonzero(row))) for row in inside]
        covered = [row["label"] in row["set"].split("|") for row in rows]
        assert coverage - 0.03 < np.mean(covered)


@pytest.mark.parametrize(("count", "needed"), [(19, None), (18, 19)])
def test_too_few_validation_images_for_the_coverage(run, digits_model, tmp_path, recorder, count, needed):
    model = Model.load(digits_model)
    few = PredictionSets(model.sets.lac[:count], model.sets.aps[:count])
    replace(model, sets=few).save(tmp_path / "few.pt")
    rows = run(model=tmp_path / "few.pt", sets=0.95)[1]
    told = f"the {count} validation images of the model are too few for --sets 0.95: every set holds all classes; "
    told += f"validate with {needed} or more, or promise less"
    assert recorder.warnings == ([told] if needed else [])
    assert all(row["set"] == "0|1|2|3|4|5|6|7|8|9" for row in rows) is bool(needed)
    assert recorder.notes == []


def test_without_sets_nothing_is_warned_of(run, digits_model, tmp_path, recorder):
    model = Model.load(digits_model)
    replace(model, sets=PredictionSets(model.sets.lac[:1], model.sets.aps[:1])).save(tmp_path / "few.pt")
    run(model=tmp_path / "few.pt")
    assert recorder.warnings == []


def test_batch_size_and_workers(run, monkeypatch):
    passes, threads = [], []
    forward, batches = Backbone.__call__, local.batches

    def counting(self, images):
        passes.append(len(images))
        return forward(self, images)

    def watching(images, transform, batch_size, workers):
        threads.append(workers)
        return batches(images, transform, batch_size, workers)

    monkeypatch.setattr(Backbone, "__call__", counting)
    monkeypatch.setattr("ulcli.data.loader.default_workers", lambda: 7)
    monkeypatch.setattr(local, "batches", watching)
    run(batch_size=5, workers=3)
    assert passes[-3:] == [5, 5, 2]
    assert threads == [3]
    run()
    assert passes[-1] == IMAGES
    assert threads[-1] == 7


def test_device(run, monkeypatch):
    places, move = [], torch.nn.Module.to
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, place: places.append(place) or move(self, place))
    run(device="cpu:0")
    assert places == ["cpu:0"]
    with pytest.raises(UserError, match="device 'abacus' cannot be used"):
        run(device="abacus")


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def test_data_root(run, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 12), ("t10k", 7)):
        write_idx(raw / f"{part}-images-idx3-ubyte", np.zeros((count, 28, 28)))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    result, rows = run(["mnist"], data_root=tmp_path)
    assert [row["label"][0] for row in rows] == list("0123456")
    assert result.columns[:3] == ["path", "label", "predicted"]
    with pytest.raises(UserError, match="--data-root"):
        run(["mnist"])


@pytest.mark.parametrize(("word", "count"), [("digits", 359), ("digits:val", 360), ("noise", 500)])
def test_data_sets_by_name(run, word, count):
    result, rows = run([word])
    assert len(rows) == result.tally.rows == count
    assert ("label" in result.columns) is (word != "noise")


def test_inputs_in_the_order_given_with_a_label_where_there_is_one(run, folder, recorder):
    result, rows = run([folder / "03.png", "digits:val", folder])
    assert result.columns[1] == "label"
    assert len(rows) == 1 + 360 + IMAGES
    assert column(rows, "path")[[0, 361, -1]].tolist() == [str(folder / f"{name}.png") for name in ("03", "00", "11")]
    assert [row["label"] is None for row in rows] == [True, *[False] * 360, *[True] * IMAGES]
    right = [row["label"] == row["predicted"] for row in rows[1:361]]
    assert np.mean(right) > 0.95
    assert recorder.tracks == [("scoring", 373)]
    assert recorder.steps == 373


@pytest.mark.parametrize("text", [b"", b"\n  \n"])
def test_nothing_to_score(run, monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    with pytest.raises(UserError, match="no images to score: standard input named none"):
        run(["-"])


def test_nothing_on_standard_input_beside_other_images(run, folder, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert len(run(["-", folder])[1]) == IMAGES
