"""Networks of the user's own: imported and called with care, and never what is no network."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from ulcli.errors import UserError
from ulcli.network.loading.build import build_network
from ulcli.network.sources.factory import Factory

FACTORY = Factory(trusted=True)


@pytest.mark.parametrize("name", ["fixed", "sized", "Net"])
def test_the_users_own_network_beside_the_working_directory(here, name):
    before = list(sys.path)
    network = FACTORY.build(f"own_networks:{name}")
    assert isinstance(network, nn.Module)
    assert sys.path == before


def test_a_class_count_where_the_factory_takes_one(here):
    assert FACTORY.build("own_networks:sized", 7)[1].out_features == 7
    assert FACTORY.accepts_class_count("own_networks:sized")
    assert not FACTORY.accepts_class_count("own_networks:fixed")
    assert FACTORY.accepts_class_count("own_networks:keywords")


@pytest.mark.parametrize("name", ["short", "long", "sequence"])
def test_a_function_that_says_what_it_gives_need_not_import_torch(here, name):
    assert isinstance(FACTORY.build(f"own_tool:{name}"), nn.Linear)


@pytest.mark.parametrize("name", ["main", "text", "Main"])
def test_what_does_not_look_like_a_network_is_not_called(here, name):
    with pytest.raises(UserError, match=f"'own_tool:{name}' does not look like a network and is not called"):
        FACTORY.build(f"own_tool:{name}")
    assert sys.modules["called"].times == 0


@pytest.mark.parametrize(
    "name",
    ["_pytest.config:main", "torch.utils.collect_env:main", "torch:get_num_threads"],
)
def test_mains_of_installed_tools_are_not_called(name):
    pytest.importorskip(name.partition(":")[0])
    with pytest.raises(UserError, match=r"does not look like a network|is not a function or class that"):
        FACTORY.build(name)


def test_networks_of_installed_libraries():
    assert isinstance(FACTORY.build("torchvision.models.squeezenet:squeezenet1_1"), nn.Module)
    assert isinstance(FACTORY.build("torch.nn.modules.linear:Identity"), nn.Module)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_networks:sised", r"unknown factory in 'own_networks' 'sised'; did you mean 'sized'"),
        ("own_networks:needs", r"'own_networks:needs' must be callable without arguments: .*width.*; --arch-arg NAME"),
        ("own_networks:number", "'own_networks:number' gave a int, expected a torch.nn.Module"),
        ("own_networks:constant", "is not a function or class that 'own_networks' defines"),
        ("own_networks:Imported", "is not a function or class that 'own_networks' defines"),
        ("own_networks:partial", "is not a function or class that 'own_networks' defines"),
        ("own_networks:join", "is not a function or class that 'own_networks' defines"),
        ("own_nothing:net", "cannot import 'own_nothing' for --arch own_nothing:net: .*; run where it lies or set"),
        ("own_needy:net", "No module named 'not_installed_anywhere'; run where it lies or set PYTHONPATH"),
        ("own_broken:net", r"importing 'own_broken' for --arch own_broken:net failed: no licence$"),
        ("os:abort", "'os:abort' is part of Python, not a network"),
        ("os.path:exists", "is part of Python, not a network"),
        ("subprocess:call", "is part of Python, not a network"),
        (":net", "':net' names no network; expected package.module:factory"),
        (".own_networks:fixed", "'.own_networks:fixed' names no network; expected package.module:factory"),
        ("own_networks:", "'own_networks:' names no network; expected package.module:factory"),
        ("own_networks:boom", r"calling 'own_networks:boom' failed: no$"),
        ("own_networks:type_error", r"calling 'own_networks:type_error' failed: TypeError: .*has no len"),
        ("own_networks:mute", r"calling 'own_networks:mute' failed: Mute$"),
        ("own_networks:leave", r"calling 'own_networks:leave' failed: SystemExit: 0"),
        ("own_networks:NoNetwork", "'own_networks:NoNetwork' does not look like a network"),
        ("own_exit:net", r"importing 'own_exit' for --arch own_exit:net failed: SystemExit: 0"),
    ],
)
def test_factories_that_cannot_serve(here, name, message):
    with pytest.raises(UserError, match=message):
        FACTORY.build(name)


def test_own_networks_have_nothing_published():
    assert FACTORY.published_transform("own:net") is None
    assert FACTORY.published_classes("own:net") is None


def test_options_reach_the_factory(here):
    network = FACTORY.build("own_networks:wide", 5, {"width": 7})
    assert (network.in_features, network.out_features) == (7, 5)
    with pytest.raises(UserError, match=r"'own_networks:wide' must be callable with depth alone: .*'depth'"):
        FACTORY.build("own_networks:wide", options={"depth": 3})


class TestCodeInTheWorkingDirectory:
    """It runs only where the user vouches for it."""

    @pytest.mark.parametrize("module", ["own_networks", "own_exit", "own_broken"])
    def test_it_does_not_run_for_a_name_that_a_file_brings(self, here, module):
        with pytest.raises(
            UserError, match=f"'{module}:fixed' needs '{module}' from the working directory, .* add --trust-code"
        ):
            Factory(trusted=False).build(f"{module}:fixed")
        assert module not in sys.modules

    def test_neither_does_a_folder_that_looks_like_a_package(self, here):
        (here / "own_package").mkdir()
        (here / "own_package" / "nets.py").write_text("raise SystemExit('ran')")
        with pytest.raises(UserError, match="add --trust-code"):
            Factory(trusted=False).build("own_package.nets:net")

    def test_neither_does_what_an_installed_module_would_find_there(self, here, tmp_path_factory, monkeypatch):
        elsewhere = tmp_path_factory.mktemp("installed")
        (elsewhere / "own_installed.py").write_text("import own_networks\nfrom torch import nn\n")
        monkeypatch.syspath_prepend(str(elsewhere))
        with pytest.raises(UserError, match="'own_installed:net' needs 'own_networks' from the working directory"):
            Factory(trusted=False).build("own_installed:net")
        assert "own_networks" not in sys.modules

    @pytest.mark.parametrize("entry", ["", "."])
    def test_python_m_puts_it_on_the_path_which_is_nobodys_word(self, here, monkeypatch, entry):
        monkeypatch.setattr(sys, "path", [entry, *sys.path])
        before = list(sys.path)
        with pytest.raises(UserError, match="add --trust-code"):
            Factory(trusted=False).build("own_networks:fixed")
        assert sys.path == before

    def test_an_empty_part_of_the_python_path_is_nobodys_word(self, here, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", "/elsewhere:")
        monkeypatch.setattr(sys, "path", [*sys.path, str(here)])
        with pytest.raises(UserError, match="add --trust-code"):
            Factory(trusted=False).build("own_networks:fixed")

    def test_a_python_path_that_spells_it_out_is_the_users_word(self, here, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", str(here))
        monkeypatch.setattr(sys, "path", [*sys.path, str(here)])
        assert isinstance(Factory(trusted=False).build("own_networks:fixed"), nn.Sequential)

    def test_in_a_process_started_with_python_m(self, here):
        (here / "own_main.py").write_text(
            "import sys\nfrom ulcli.network.loading.build import build_network\n"
            "print(build_network('own_networks:fixed', trusted='yes' in sys.argv))\n"
        )
        ran = [
            subprocess.run([sys.executable, "-m", "own_main", *words], capture_output=True, text=True, cwd=here)
            for words in (["yes"], ["no"])
        ]
        assert [done.returncode for done in ran] == [0, 1]
        assert "add --trust-code" in ran[1].stderr

    @pytest.mark.parametrize("arch", ["ulcli.model.sample:digits_cnn", "torchvision.models.squeezenet:squeezenet1_1"])
    def test_what_is_installed_needs_no_word(self, here, arch):
        assert isinstance(Factory(trusted=False).build(arch), nn.Module)

    def test_what_a_module_puts_on_the_path_stays_there(self, tmp_path_factory, here, monkeypatch):
        elsewhere = tmp_path_factory.mktemp("installed")
        (elsewhere / "own_adding.py").write_text(
            "import sys\nfrom torch import nn\nsys.path.insert(0, '/of/its/own')\n"
            "def net() -> nn.Module:\n    return nn.Linear(1, 1)\n"
        )
        monkeypatch.setattr(sys, "path", [str(here), *sys.path, str(elsewhere)])
        before = list(sys.path)
        Factory(trusted=False).build("own_adding:net")
        sys.modules.pop("own_adding")
        assert sorted(sys.path) == sorted([*before, "/of/its/own"])


WEIGHTS = """
import torch
from torch import nn

def loaded() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 5))
    network.load_state_dict({key: torch.full_like(value, 0.5) for key, value in network.state_dict().items()})
    return network

def with_a_new_head() -> nn.Module:
    network = loaded()
    network[2] = nn.Linear(144, 3)
    return network

def drawn() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 5))

def scaled(scale: float = 1.0) -> nn.Module:
    network = loaded()
    network.load_state_dict({key: value * scale for key, value in network.state_dict().items()})
    return network

def sized(num_classes) -> nn.Module:
    return nn.Linear(3, num_classes)
"""


class TestOwnWeights:
    """Factories that need no checkpoint."""

    @pytest.fixture(autouse=True)
    def nets(self, tmp_path, monkeypatch):
        (tmp_path / "own_weights.py").write_text(WEIGHTS)
        monkeypatch.syspath_prepend(tmp_path)
        yield
        sys.modules.pop("own_weights", None)

    def test_the_weights_are_those_that_the_factory_gives(self):
        built = FACTORY.published_network("own_weights:loaded")
        assert built.has_classifier
        assert built.notes == ()
        assert all(bool((value == 0.5).all()) for value in built.network.state_dict().values())

    def test_options_reach_the_factory(self):
        built = FACTORY.published_network("own_weights:scaled", None, {"scale": 2})
        assert built.options == {"scale": 2}
        assert bool((built.network[0].weight == 1).all())

    def test_a_random_classifier_is_not_the_networks_own(self):
        built = FACTORY.published_network("own_weights:with_a_new_head")
        assert not built.has_classifier
        assert built.notes == (
            "'own_weights:with_a_new_head' draws the weights of its classifier ('2') at random: a new one is fitted",
        )

    def test_random_weights_are_refused_and_nobody_elses_random_numbers_change(self):
        before = torch.get_rng_state()
        with pytest.raises(UserError, match=r"^'own_weights:drawn' gives random weights \(4 tensors, .* checkpoint"):
            FACTORY.published_network("own_weights:drawn")
        assert torch.equal(before, torch.get_rng_state())

    def test_what_only_a_checkpoint_could_say(self):
        with pytest.raises(UserError, match="needs num_classes; say --arch-arg num_classes=NUMBER"):
            FACTORY.published_network("own_weights:sized")
        with pytest.raises(UserError, match="gives its own weights; --weights goes with"):
            FACTORY.published_network("own_weights:loaded", "IMAGENET1K_V1")


@pytest.mark.parametrize(
    "arch",
    [
        "torch.fx.graph_module:reduce_graph_module",
        "torchvision.datasets.utils:extract_archive",
        "transformers:pipeline",
        "own_networks:sized",
    ],
)
def test_a_file_brings_no_arguments(here, arch):
    with pytest.raises(UserError, match="is to be called with body by the word of a file; add --trust-code"):
        build_network(arch, None, {"body": {"_code": "raise SystemExit"}})


def test_a_factory_may_import_more_when_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "lazy_net.py").write_text("import torch\ndef net():\n    from lazy_part import Net\n    return Net()\n")
    (tmp_path / "lazy_part.py").write_text("from torch import nn\ndef Net(): return nn.Linear(2, 3)\n")
    monkeypatch.chdir(tmp_path)
    assert build_network("lazy_net:net", trusted=True).out_features == 3
