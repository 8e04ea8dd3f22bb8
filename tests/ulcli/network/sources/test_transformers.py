"""Folders in the format of transformers; skipped where it is not installed."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from ulcli.errors import UserError
from ulcli.network.loading.build import rebuilt_network
from ulcli.network.sources.transformers import is_folder, read_folder

SMALL = {
    "vit": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    | {"image_size": 32, "patch_size": 8},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "convnext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def test_transformers_is_named_where_it_is_missing(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    script = (
        "import sys; sys.modules['transformers'] = None; from pathlib import Path\n"
        "from ulcli.network.sources.transformers import read_folder; read_folder(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    assert "pip install 'uncertainty-loss[transformers]'" in done.stderr


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "cannot read '.*config.json'"),
        ("[]", "holds no configuration"),
        ("{}", "names no model_type"),
        ('{"model_type": "vit", "auto_map": {"AutoConfig": "evil.Config"}}', r"needs code or files .*\('auto_map'\)"),
        ('{"model_type": "vit", "quantization_config": {"bits": 4}}', r"needs code or .*\('quantization_config'\)"),
        ('{"model_type": "timm_wrapper"}', r"needs code or files that are not its own \('timm_wrapper'\)"),
    ],
)
def test_configurations_that_are_refused(tmp_path, config, message):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(UserError, match=message):
        read_folder(tmp_path)


class TestInstalled:
    """With the library at hand, which is also what the answers are compared with."""

    @pytest.fixture(autouse=True)
    def transformers(self):
        return pytest.importorskip("transformers")

    @pytest.fixture
    def folder(self, transformers, tmp_path):
        """A function that saves a small network with random weights."""

        def save(kind, **settings):
            config = transformers.AutoConfig.for_model(kind, **{**SMALL[kind], "num_labels": 3, **settings})
            torch.manual_seed(0)
            network = transformers.AutoModelForImageClassification.from_config(config)
            network.save_pretrained(tmp_path)
            return tmp_path, network.eval()

        return save

    @pytest.mark.parametrize("kind", SMALL)
    def test_the_network_comes_back(self, folder, kind):
        path, own = folder(kind)
        assert is_folder(path)
        found = read_folder(path)
        assert (found.arch, found.classes) == (f"transformers/{kind}", None)
        state = dict(found.built.network.state_dict())
        again = rebuilt_network(found.arch, state, None, json.loads(json.dumps(found.built.options)))
        images = torch.randn(2, 3, 32, 32)
        with torch.inference_mode():
            expected = own(images).logits
            assert torch.allclose(found.built.network.eval()(images).logits, expected, atol=1e-6)
            assert torch.allclose(again.eval()(images).logits, expected, atol=1e-6)

    def test_class_names(self, folder):
        names = {2: "owl", 0: "cat", 1: "dog"}
        path, _ = folder("resnet", id2label=names, label2id={name: key for key, name in names.items()})
        assert read_folder(path).classes == ("cat", "dog", "owl")

    def test_a_kernel_that_a_configuration_names_is_not_fetched(self, folder):
        path, _ = folder("vit")
        config = json.loads((path / "config.json").read_text())
        config |= {"_attn_implementation": "evil/kernel", "attn_implementation": "evil/kernel"}
        (path / "config.json").write_text(json.dumps(config))
        found = read_folder(path)
        assert found.built.network.config._attn_implementation == "eager"
        assert "evil" not in json.dumps(found.built.options)

    def test_code_in_a_pickle_does_not_run(self, folder, tmp_path):
        path, _ = folder("resnet")
        (path / "model.safetensors").unlink()
        torch.save({"classifier.1.weight": Evil(str(tmp_path / "ran"))}, path / "pytorch_model.bin")
        with pytest.raises(UserError, match="transformers cannot load"):
            read_folder(path)
        assert not (tmp_path / "ran").exists()

    def test_a_backbone_without_a_classifier(self, folder, transformers):
        path, own = folder("resnet")
        (path / "model.safetensors").unlink()
        torch.save({k: v for k, v in own.state_dict().items() if "classifier" not in k}, path / "pytorch_model.bin")
        built = read_folder(path).built
        assert not built.has_classifier
        assert built.notes == ("the checkpoint has no classifier ('classifier.1'): a new one is fitted",)

    def test_weights_that_lack_more_than_the_classifier(self, folder):
        path, own = folder("resnet")
        (path / "model.safetensors").unlink()
        torch.save({k: v for k, v in own.state_dict().items() if "embedder" not in k}, path / "pytorch_model.bin")
        with pytest.raises(UserError, match=r"has no weights for '.*embedder.*', .*; is it a classifier\?"):
            read_folder(path)

    @pytest.mark.parametrize(
        ("kind", "settings"),
        [
            ("ViTImageProcessor", {"size": {"height": 32, "width": 32}, "resample": 2}),
            ("ConvNextImageProcessor", {"size": {"shortest_edge": 56}, "crop_pct": 0.875, "resample": 3, **IMAGENET}),
            ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}, "crop_pct": 0.875, "resample": 3, **IMAGENET}),
            (
                "BitImageProcessor",
                {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}, "resample": 3, **IMAGENET},
            ),
            ("ViTImageProcessor", {"size": {"height": 32, "width": 32}, "do_normalize": False}),
        ],
    )
    def test_the_preprocessing(self, folder, transformers, kind, settings, picture):
        path, _ = folder("resnet")
        processor = getattr(transformers, kind)(**settings)
        processor.save_pretrained(path)
        image = picture(100, 80)
        # The processor works on tensors, whose resizing rounds otherwise than Pillow's, by a level or two of 255. It
        # also starts the crop a pixel earlier than torchvision where the margin is odd, so the margins here are even.
        expected = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
        got = read_folder(path).transform(image).numpy()
        assert got.shape == expected.shape
        assert np.abs(got - expected).mean() < 0.01
        assert np.abs(got - expected).max() < 0.1

    def test_without_a_processor(self, folder):
        assert read_folder(folder("resnet")[0]).transform is None


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_folder_of_images_is_none(tmp_path):
    assert not is_folder(tmp_path)
