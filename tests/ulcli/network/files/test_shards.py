"""Folders that hold weights, and what their configuration says. The rest is in the table of forms."""

import json
import os

import pytest
import torch

from ulcli.errors import UserError
from ulcli.network.files.checkpoint import read_checkpoint
from ulcli.network.files.shards import locate, read_json


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.safetensors", "pytorch_model.bin", "optimizer.pt"], "model.safetensors"),
        (["pytorch_model.bin", "training_args.bin"], "pytorch_model.bin"),
        (["x.safetensors.index.json", "x-1.safetensors", "x-2.safetensors"], "x.safetensors.index.json"),
        (["best.pth", "notes.txt"], "best.pth"),
        (["best.pth", "config.json", "x.safetensors", "y.safetensors"], None),
    ],
)
def test_which_file_of_a_folder(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).write_text("x")
    if expected is None:
        with pytest.raises(UserError, match="is a folder with 3 checkpoints"):
            locate(tmp_path)
    else:
        assert locate(tmp_path) == tmp_path / expected
    assert locate(tmp_path / "none") == tmp_path / "none"


def test_the_configuration_beside_the_weights(tmp_path):
    torch.save({"weight": torch.ones(2, 3)}, tmp_path / "pytorch_model.bin")
    torch.save({"weight": torch.ones(2, 3)}, tmp_path / "other.pth")
    config = {"architecture": "resnet18.a1_in1k", "id2label": {"0": "ant", "1": "bee"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for path in (tmp_path, tmp_path / "pytorch_model.bin"):
        found = read_checkpoint(path)
        assert (found.arch, found.classes) == ("timm/resnet18.a1_in1k", ("ant", "bee"))
    assert read_checkpoint(tmp_path / "other.pth").classes is None


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    assert read_json(tmp_path / "config.json") is None
    assert read_json(tmp_path / "none") is None


def test_a_pipe_in_place_of_the_configuration(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    torch.save({"weight": torch.ones(2, 3)}, tmp_path / "pytorch_model.bin")
    assert read_checkpoint(tmp_path).arch is None
