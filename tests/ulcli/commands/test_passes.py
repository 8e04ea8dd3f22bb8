"""Settings of a pass reach what runs it."""

from pathlib import Path

import pytest

from ulcli.commands.passes import extractor
from ulcli.commands.settings import EvaluateSettings, TrainSettings
from ulcli.data.loader import default_workers
from ulcli.errors import UserError
from ulcli.model.file import Model


@pytest.mark.parametrize("build", [TrainSettings, lambda **rest: EvaluateSettings(Path("m.pt"), **rest)])
def test_every_setting_is_there(build, digits_model, cache_dir):
    model = Model.load(digits_model)
    backbone = model.backbone.build()
    made = extractor(build(batch_size=7, workers=3, device="cpu:0"), backbone, model.transform)
    assert (made.backbone, made.transform) == (backbone, model.transform)
    assert (made.batch_size, made.workers, made.device) == (7, 3, "cpu:0")
    assert made.cache.folder.is_relative_to(cache_dir)
    plain = extractor(build(no_cache=True), backbone, model.transform)
    assert (plain.cache, plain.batch_size, plain.workers) == (None, 64, default_workers())
    with pytest.raises(UserError, match="device 'abacus' cannot be used"):
        extractor(build(device="abacus"), backbone, model.transform)
