"""A pass of images through the network, as the settings ask for it."""

from __future__ import annotations

from ulcli.commands.settings import EvaluateSettings, TrainSettings
from ulcli.data.transform import Transform
from ulcli.network.anatomy.backbone import Backbone
from ulcli.network.cache import FeatureCache
from ulcli.network.device import resolve_device
from ulcli.network.features import Extractor


def extractor(settings: TrainSettings | EvaluateSettings, backbone: Backbone, transform: Transform) -> Extractor:
    """Make what extracts the features of image sets, with the feature cache unless `--no-cache` is given."""
    return Extractor(
        backbone,
        transform,
        device=resolve_device(settings.device),
        batch_size=settings.batch_size,
        workers=settings.threads,
        cache=None if settings.no_cache else FeatureCache.default(),
    )
