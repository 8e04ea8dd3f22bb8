"""What a file says about itself."""

import argparse

import numpy as np
import pytest
import torch

from ulcli.network.files.archive import read_archive
from ulcli.network.files.metadata import read_metadata

ABC = ("ant", "bee", "cat")


@pytest.mark.parametrize(
    "record",
    [
        {"class_to_idx": {"bee": 1, "ant": 0, "cat": 2}},
        {"idx_to_class": {2: "cat", 0: "ant", 1: "bee"}},
        {"id2label": {"0": "ant", "2": "cat", "1": "bee"}},
        {"label2id": {"cat": "2", "bee": "1", "ant": "0"}},
        {"classes": ["ant", "bee", "cat"]},
        {"classes": ("ant", "bee", "cat")},
        {"classes": {"bee": 1, "ant": 0, "cat": 2}},
        {"class_names": {1: "bee", 0: "ant", 2: "cat"}},
        {"classes": 3, "class_names": ["ant", "bee", "cat"]},
    ],
)
@pytest.mark.parametrize("place", [None, "hyper_parameters", "args", "meta", "config"])
def test_class_names_come_in_the_order_of_the_outputs(record, place):
    assert read_metadata(record if place is None else {place: record}).classes == ABC
    assert read_metadata({"args": {"data": record}}).classes == ABC
    assert read_metadata({}, record).classes == ABC


@pytest.mark.parametrize("names", [np.array(ABC), np.array(ABC, dtype=object)])
def test_names_in_a_numpy_array_and_a_namespace(tmp_path, names):
    torch.save({"args": argparse.Namespace(classes=names, arch="resnet18", num_classes=np.int64(3))}, tmp_path / "a.pt")
    said = read_metadata(read_archive(tmp_path / "a.pt"))
    assert (said.classes, said.arch_hints, said.num_classes) == (ABC, ("resnet18",), 3)


def test_whole_numbers_as_names_keep_the_order_of_their_indices():
    assert read_metadata({"classes": [7, 3, 10]}).classes == ("7", "3", "10")
    assert read_metadata({"class_to_idx": {"10": 0, "7": 1, "3": 2}}).classes == ("10", "7", "3")
    assert read_metadata({"class_to_idx": {"1": 0, "2": 1, "0": 2}}).classes == ("1", "2", "0")
    assert read_metadata({"idx_to_class": {"1": "0", "2": "1", "0": "2"}}).classes == ("2", "0", "1")


@pytest.mark.parametrize(
    "record",
    [
        {"class_to_idx": {"ant": 0, "bee": 2}},
        {"class_to_idx": {"ant": 1, "bee": 2}},
        {"class_to_idx": {"ant": 0, "bee": 0}},
        {"class_to_idx": {}},
        {"classes": []},
        {"classes": ["ant", "ant"]},
        {"labels": [0, 1, 1, 0]},
        {"classes": ["ant", 3]},
        {"classes": [True, False]},
        {"classes": "ant"},
        {"classes": torch.arange(3)},
        {"classes": ["a" * 501, "b"]},
        {"id2label": {0: "LABEL_0", 1: "LABEL_1"}},
        {"id2label": {"x": "ant"}},
        {"names": [{}, []]},
    ],
)
def test_what_is_no_list_of_classes(record):
    assert read_metadata(record).classes is None


def test_lists_that_contradict_each_other_are_not_used():
    said = read_metadata({"classes": ["ant", "bee"], "args": {"classes": ["bee", "ant"]}})
    assert said.classes is None
    assert said.notes == ("the file lists its classes in 2 ways that contradict each other; none is used",)
    assert read_metadata({"classes": ["ant", "bee"], "args": {"class_to_idx": {"ant": 0, "bee": 1}}}).classes


def test_the_architecture():
    assert read_metadata({"arch": "package.module:net"}).arch == "package.module:net"
    assert read_metadata({"arch": torch.nn.Linear}).arch is None
    assert read_metadata({"arch": "a\nb"}).arch is None
    assert read_metadata({}, {"architecture": "resnet50.a1_in1k"}).arch == "timm/resnet50.a1_in1k"
    timm = {"epoch": 1, "arch": "resnet50d", "state_dict": {}, "optimizer": {}, "version": 2}
    assert read_metadata(timm).arch == "timm/resnet50d"
    # Code is not named among the options of a script.
    assert read_metadata({"args": {"model": "os:system"}}) == read_metadata({})
    assert read_metadata({"hyper_parameters": {"model_name": "vgg11"}, "args": {"arch": "vgg13"}}).arch_hints == (
        "vgg11",
        "vgg13",
    )


def test_records_that_hold_themselves():
    content = {"classes": ["ant", "bee"]}
    content["args"] = content["config"] = content["meta"] = content
    assert read_metadata(content).classes == ("ant", "bee")
    assert read_metadata([content]).classes is None
