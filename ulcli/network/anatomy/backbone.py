"""A frozen network, taken apart into features and the classifier that reads them."""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ulcli.data.imageset import hash_parts
from ulcli.errors import UserError
from ulcli.network.anatomy.accepted import accepted_images
from ulcli.network.anatomy.calls import Listener, Products, describe, watch, whole_batch
from ulcli.network.anatomy.heads import Head, classifier_widths, find_head, outputs_head, parameters_of
from ulcli.network.anatomy.links import is_linked
from ulcli.network.anatomy.outputs import choose_matrix, matrices
from ulcli.network.anatomy.places import Place
from ulcli.network.anatomy.taps import pool_tap, tap_names
from ulcli.network.linear import Linear
from ulcli.network.usercode import told_in_one_line
from uncertainty_loss import embed

# Most dimensions that a tap, and the features themselves, take in the embedding. A covariance holds the square of
# their sum, and scoring multiplies by it: with these bounds at most 37 MB, and below a hundredth of a ResNet18.
_TAP_LIMIT, _FEATURE_LIMIT = 512, 1024
# Features of the same image in two batches differ by rounding, far less than this share of their length.
_SAME = 0.01

NOT_FINITE = "the network's output is not finite"  # what is wrong with the other images


class Activations(NamedTuple):
    """What one pass through a network leaves, float32 on the CPU."""

    features: Tensor  # (N, D): what the classifier reads
    embedding: Tensor  # (N, E): features and earlier layers as `uncertainty_loss.embed` puts them side by side

    @property
    def finite(self) -> Tensor:
        """Tell of which images (N,) the network made numbers, rather than NaN or infinity somewhere."""
        return self.features.isfinite().all(1) & self.embedding.isfinite().all(1)


@dataclass
class Backbone:
    """A network whose features are what enters its last linear layer.

    `head` says where features are read (`heads.Place`): as a rule that layer's name; None where the network's outputs
    serve, for no layer gives them. `taps` are the layers whose pooled outputs the embedding holds besides. Several
    threads may call it at once.
    """

    arch: str
    num_classes: int | None  # what the network was built with, where that is not its default
    network: nn.Module
    head: str | None
    taps: tuple[str, ...]
    own: Linear | None = field(default=None, repr=False)  # the network's classifier; known where it was taken apart
    notes: tuple[str, ...] = ()  # what was assumed in taking it apart, a line each

    def __post_init__(self) -> None:
        self._listener = Listener()
        # The hooks know nothing of this object, and go when it goes.
        weakref.finalize(self, self._listener.close).atexit = False
        for tap in self.taps:
            self._listener.hear_output(f"tap {tap}", self._layer(tap), pool_tap)
        self._place = place = Place.parse(self.head)
        self._product = place.name not in _layers(self.network) and place.name in parameters_of(self.network)
        if place.name is not None and not self._product:
            layer = self._layer(place.name)
            self._listener.hear_input("head", layer, lambda x: place.vectors(x, layer))

    def __reduce__(self) -> Any:
        known = (self.arch, self.num_classes, self.network, self.head, self.taps, self.own, self.notes)
        return type(self), known

    @classmethod
    def take_apart(
        cls,
        arch: str,
        num_classes: int | None,
        network: nn.Module,
        shape: tuple[int, int, int],
        head: str | None = None,
        classes: int | None = None,
    ) -> Backbone:
        """Find head and taps by watching images of `shape` (channels, height, width) pass through a network.

        Args:
            head: Where features are to be read, rather than where they are found.
            classes: How many the data has; an output that wide is the likelier one.

        Raises:
            UserError: The network does not take such images, gives no logits, or gives an image other features each
                time or in another batch; there is no layer `head`.
        """
        network.eval().requires_grad_(False)
        images = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))  # zeros would make layers agree
        few = images[:2]
        with told_in_one_line(f"'{arch}' does not take images of {describe(few)}", lambda: _advice(network)):
            output, calls = watch(network, few)
        outputs, taps = matrices(output, len(few), arch), tap_names(few, calls)
        found = find_head(arch, network, few, calls, outputs, head, classes)
        backbone = cls(arch, num_classes, network, found.place, taps, found.own, found.notes)
        if not backbone._check(images, found):
            found = replace(found, own=None) if head else outputs_head(arch, network, few, calls, outputs)
            backbone = cls(arch, num_classes, network, found.place, taps, found.own, found.notes)
            backbone._check(images, found)
        return backbone

    def __call__(self, images: Tensor) -> Activations:
        """One pass of images of shape (N, channels, height, width)."""
        with torch.inference_mode():
            features, pooled, _ = self._pass(images)
            taps = [embed([each], _TAP_LIMIT) for each in pooled]
            embedding = torch.cat([*taps, embed([features], _FEATURE_LIMIT)], 1)
        return Activations(features.float().cpu(), embedding.cpu())

    def own_classifier(self) -> Linear | None:
        """The network's own classifier, as it reads the features; the identity where its outputs serve as such.

        None where it is not linear in the features, or where the backbone was not taken apart but built from a file.
        """
        return self.own

    def digest(self) -> str:
        """A hash of the architecture and every weight."""
        state = self.network.state_dict()
        arrays: list[Any] = [_bytes_of(state[key]) for key in sorted(state)]
        return hash_parts(self.arch, str(self.head), str(self.taps), *sorted(state), *arrays)

    def _pass(self, images: Tensor) -> tuple[Tensor, list[Tensor], Any]:
        """Features, pooled taps, and what the network gives."""
        products: list[Tensor] = []
        many = f"{len(images)} image{'s' if len(images) > 1 else ''}"
        failure = f"'{self.arch}' fails on a batch of {many} of {describe(images)}"
        with self._listener.listening() as heard, told_in_one_line(failure), self._hear_products(products):
            output = self.network(images)
        if self._place.name is None:
            found = matrices(output, len(images), self.arch)
            features = self._place.logits(found[choose_matrix(found, classifier_widths(self.network))])
        else:
            features = self._whole(products or heard.get("head", []), self._place.name, len(images))
        return features, [self._whole(heard.get(f"tap {name}", []), name, len(images)) for name in self.taps], output

    def _hear_products(self, products: list[Tensor]) -> Any:
        if self._place.name is None or not self._product:
            return nullcontext()
        parameters = {self._place.name: parameters_of(self.network)[self._place.name]}
        return Products(parameters, lambda call: products.append(self._place.vectors(call.input, None)))

    def _whole(self, parts: list[Tensor], name: str, images: int) -> Tensor:
        whole = whole_batch(parts, images) if parts else None
        if whole is None:
            raise UserError(f"layer '{name}' of '{self.arch}' does not see each of {images} images once; choose --head")
        return whole

    def _layer(self, name: str) -> nn.Module:
        layer = _layers(self.network).get(name)
        if layer is None:
            raise UserError(f"'{self.arch}' has no layer '{name}' any more; train the model again")
        return layer

    def _check(self, images: Tensor, found: Head) -> bool:
        """Tell whether the own classifier gives what the network gives, for images that it was not found with too.

        Raises:
            UserError: An image has other features each time, or in another batch.
        """
        images = images[[3, 2, 1]]
        with torch.inference_mode():
            features, _, output = self._pass(images)
        alone = self(images[2:]).features
        watched = found.features.float().cpu()
        if difference(features[2:], watched[1:]) > _SAME or difference(alone, watched[1:]) > _SAME:
            self._refuse_changing(images, features)
        if found.own is None:
            return True
        logits = found.own(features.float().cpu())
        outputs = [each for each in matrices(output, len(images), self.arch) if each.shape[1] == found.width]
        return any(is_linked(logits[:, 1:] if found.width == 1 else logits, each) for each in outputs)

    def _refuse_changing(self, images: Tensor, features: Tensor) -> None:
        again = self(images).features
        when, remedy = "in another batch", "let it treat every image on its own"
        if difference(again, features) > _SAME:
            when, remedy = "each time", "switch off what is random in it (dropout, noise)"
        raise UserError(f"'{self.arch}' gives an image other features {when}, even in evaluation mode; {remedy}")


def _layers(network: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in network.named_modules(remove_duplicate=False) if name}


def _advice(network: nn.Module) -> str:
    accepted = accepted_images(network)
    return "; see --image-size and --grayscale" + (f" (it takes {accepted})" if accepted else "")


def difference(values: Tensor, reference: Tensor) -> float:
    """Tell how far values are from others of the same shape, as a share of the length of these."""
    values, reference = values.double().cpu().nan_to_num(), reference.double().cpu().nan_to_num()
    return float((values - reference).norm() / reference.norm().clamp(min=1e-300))


def _bytes_of(tensor: Tensor) -> np.ndarray:
    """A tensor of any dtype as bytes (NumPy has no bfloat16)."""
    flat: np.ndarray = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return flat
