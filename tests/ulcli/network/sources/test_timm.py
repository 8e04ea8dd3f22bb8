"""timm's classifiers; skipped where timm is not installed."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from ulcli.errors import UserError
from ulcli.network.loading.build import build_network, network_for, rebuilt_network
from ulcli.network.sources.timm import Timm

TIMM = Timm(trusted=False)
# Small ones of many families.
NAMES = [
    *("resnet10t", "mobilenetv3_small_050", "efficientnet_b0", "regnetx_002", "convnext_atto", "vit_tiny_patch16_224"),
    *("deit_tiny_patch16_224", "mobilevit_xxs", "ghostnet_050", "edgenext_xx_small", "tf_efficientnet_b0.ns_jft_in1k"),
    *("xcit_nano_12_p16_224", "levit_128s", "mixer_s32_224", "inception_v3", "swin_tiny_patch4_window7_224.ms_in22k"),
]


def test_timm_is_named_where_it_is_missing():
    script = (
        "import sys; sys.modules['timm'] = None\n"
        "from ulcli.network.loading.build import build_network\nbuild_network('timm/resnet18')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "'timm/resnet18' needs timm: pip install 'uncertainty-loss[timm]'" in done.stderr


class TestInstalled:
    """With the library at hand, which is also what the answers are compared with."""

    @pytest.fixture(autouse=True)
    def timm(self):
        return pytest.importorskip("timm")

    @pytest.mark.parametrize("name", NAMES)
    def test_networks_come_out_as_timm_makes_them(self, timm, name):
        torch.manual_seed(0)
        own = timm.create_model(name, num_classes=7).eval()
        state = own.state_dict()
        built = network_for(f"timm/{name}", state)
        assert built.num_classes == 7
        again = rebuilt_network(f"timm/{name}", state, built.num_classes, built.options)
        images = torch.randn(2, *own.default_cfg["input_size"])
        with torch.inference_mode():
            expected = own(images)
            assert torch.equal(built.network.eval()(images), expected)
            assert torch.equal(again.eval()(images), expected)

    @pytest.mark.parametrize("name", NAMES)
    def test_the_published_preprocessing(self, timm, name, picture):
        config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        expected, image = timm.data.create_transform(**config), picture(400, 300)
        assert torch.equal(TIMM.published_transform(f"timm/{name}")(image), expected(image))

    def test_a_network_for_another_size(self, timm):
        options = {"img_size": 64}
        assert TIMM.build("timm/vit_tiny_patch16_224", 3, options)(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
        assert TIMM.published_transform("timm/vit_tiny_patch16_224", options=options).crop == 64

    @pytest.mark.parametrize("name", ["vit_base_patch16_siglip_512", "test_vit.r160_in1k"])
    def test_crop_modes(self, timm, name, picture):
        config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        expected, image = timm.data.create_transform(**config), picture(600, 400)
        assert torch.equal(TIMM.published_transform(f"timm/{name}")(image), expected(image))

    @pytest.mark.parametrize(
        ("arch", "message"),
        [
            ("timm/resnet19", "unknown timm network 'resnet19'; did you mean 'resnet1"),
            ("timm/", "unknown timm network ''"),
        ],
    )
    def test_unknown_networks(self, arch, message):
        with pytest.raises(UserError, match=message):
            build_network(arch)

    def test_unknown_tags(self):
        with pytest.raises(UserError, match="unknown weights of timm/resnet18 'a4_in1k'; did you mean 'a3_in1k'"):
            TIMM.published_transform("timm/resnet18.a4_in1k")
        with pytest.raises(UserError, match=r"'timm/resnet18\.a4_in1k'"):
            build_network("timm/resnet18.a4_in1k")

    def test_weights_are_part_of_the_name(self):
        with pytest.raises(UserError, match=r"named by --arch itself: timm/resnet18\.tv_in1k, without --weights"):
            TIMM.published_network("timm/resnet18", "tv_in1k")

    def test_no_published_weights(self, timm):
        name = next(each for each in timm.list_models() if not timm.get_pretrained_cfg(each).has_weights)
        with pytest.raises(UserError, match=f"'timm/{name}' has no published weights; give a checkpoint"):
            TIMM.published_network(f"timm/{name}")

    @pytest.mark.parametrize("option", ["checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_strict"])
    def test_options_cannot_have_files_read(self, option):
        with pytest.raises(UserError, match=f"'timm/resnet10t' cannot be built with '{option}'"):
            TIMM.build("timm/resnet10t", options={option: "evil.pth"})

    def test_options_that_make_no_sense(self):
        with pytest.raises(UserError, match=r"timm cannot build 'timm/resnet10t' with \{'depth': 3\}: .*depth"):
            TIMM.build("timm/resnet10t", options={"depth": 3})

    def test_networks_are_modules(self):
        assert isinstance(TIMM.build("timm/resnet10t"), nn.Module)

    def test_a_preprocessing_that_cannot_be_done_is_not_made_up(self):
        assert TIMM.published_transform("timm/volo_d5_512.sail_in1k") is None
