"""Find a network's classifier, or say that there is none to be found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ulcli.errors import UserError, shorten, unknown_name
from ulcli.network.anatomy.calls import Call, Listener, Products, watch, whole_batch
from ulcli.network.anatomy.links import are_probabilities, fit_scale, is_linked
from ulcli.network.anatomy.outputs import choose_matrix, matrices
from ulcli.network.anatomy.places import Place
from ulcli.network.linear import Linear
from ulcli.network.usercode import told_in_one_line


@dataclass(frozen=True)
class Head:
    """Where a network's features are read, and how its own classifier makes its outputs of them."""

    place: str | None  # as `Place` has it
    own: Linear | None  # None where the outputs are not linear in the features
    features: Tensor  # (N, D), of the images that were watched
    width: int  # of the output that holds the logits
    notes: tuple[str, ...] = ()  # what was assumed, a line each


class Candidate(NamedTuple):
    """A layer that may be the classifier, and its features of the images that were watched."""

    place: str
    features: Tensor
    linear: Linear


def find_head(
    arch: str,
    network: nn.Module,
    images: Tensor,
    calls: list[Call],
    outputs: list[Tensor],
    name: str | None = None,
    classes: int | None = None,
) -> Head:
    """Return the last layer whose logits the network gives; without one its outputs serve as features.

    Of several outputs, the first that is as wide as the data has classes counts before all others.

    Args:
        arch: What the network is called in messages.
        images: Shape (N, channels, height, width), those that were watched.
        calls: What `watch` gave for them.
        outputs: What `matrices` found in the network's output.
        name: A layer of the user's choice; what enters it serves as features then.
        classes: How many the data has, where that is known.
    """
    if name is not None:
        return _chosen_head(arch, network, images, calls, outputs, name)
    likely = _as_wide(outputs, classes)
    found = _direct_head(_candidates(calls, likely), likely) or _search_further(arch, network, images, classes=classes)
    if found is None and len(likely) < len(outputs):
        found = _direct_head(_candidates(calls, outputs), outputs)
    if found is None:
        return outputs_head(arch, network, images, calls, outputs)
    notes = list(found.notes)
    if len(outputs) > 1:
        which = f"of the {len(outputs)} outputs of '{arch}', that of layer '{found.place}' counts as logits"
        notes.append(f"{which}; --head for another")
    if found.width == 1:
        notes.append(f"'{arch}' gives one number an image: the logit of the second class of two")
    return replace(found, notes=tuple(notes))


def outputs_head(arch: str, network: nn.Module, images: Tensor, calls: list[Call], outputs: list[Tensor]) -> Head:
    """The network's outputs as features, which the identity makes logits of."""
    chosen = outputs[choose_matrix(outputs, classifier_widths(network))]
    width = chosen.shape[1]
    inverse = None
    if are_probabilities(chosen):
        inverse = "log"
    elif width == 1:
        wide = matrices(_further_pass(arch, network, _spread(images))[0], 8, arch)
        if all(bool(((each >= 0) & (each <= 1)).all()) for each in wide):
            inverse = "logit"
    place = Place(None, inverse=inverse)
    features = place.logits(chosen)
    layers = [call.name for call in calls if _output_width(call.module) == width]
    kind = {None: "outputs", "log": "outputs' logarithms", "logit": "output's logit"}[inverse]
    if len(outputs) > 1:
        kind += f" (the one of width {width} of {len(outputs)})"
    advice = f", such as {shorten(reversed(list(dict.fromkeys(layers))))}" if layers else ""
    note = (
        f"no linear layer gives what '{arch}' gives, so its {kind} serve as features; "
        f"--head NAME takes what enters a layer{advice}"
    )
    return Head(str(place) or None, Linear.identity(features.shape[1]), features, width, (note,))


def classifier_widths(network: nn.Module) -> list[int]:
    """Output widths of the linear layers, the last first."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return [layer.out_features for layer in reversed(layers)]


def parameters_of(network: nn.Module) -> dict[str, Tensor]:
    """The matrices of a network by name: parameters, and buffers that may serve as such."""
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: tensor for name, tensor in named.items() if tensor.dim() == 2 and tensor.is_floating_point()}


def _candidates(calls: list[Call], outputs: list[Tensor]) -> Iterator[Candidate]:
    """Linear layers, convolutions and products with a parameter that are as wide as an output; the last come first."""
    widths = {output.shape[1] for output in outputs}
    for call in reversed(list({call.name: call for call in calls}.values())):
        linear = _linear_of(call, widths)
        if linear is None:
            continue
        flat = call.input.dim() == 2 or isinstance(call.module, nn.Conv2d)
        for token in (None,) if flat else (0, -1, None):
            place = Place(call.name, token)
            features = place.vectors(call.input, call.module)
            if features.shape == (len(outputs[0]), linear.weight.shape[1]):
                yield Candidate(str(place), features, linear)


def _linear_of(call: Call, widths: set[int]) -> Linear | None:
    """A layer of one of these widths as weight and bias, float32 copies on the CPU."""
    module, x = call.module, call.input
    if not isinstance(x, Tensor) or x.dim() < 2:
        return None
    if call.weight is not None and len(call.weight) in widths:
        weight = call.weight.detach().float().cpu().clone()
        rest = call.output.double().flatten(0, -2) - x.double().flatten(0, -2) @ weight.double().T
        return Linear(weight, rest.mean(0).float())
    if not isinstance(module, nn.Linear | nn.Conv2d) or _output_width(module) not in widths:
        return None
    if isinstance(module, nn.Conv2d) and (module.groups != 1 or module.padding not in ((0, 0), "valid")):
        return None
    weight = module.weight.detach().float().cpu().clone().flatten(1)
    bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.detach().float().cpu().clone()
    return Linear(weight, bias)


def _direct_head(found: Iterable[Candidate], outputs: list[Tensor]) -> Head | None:
    """The first candidate whose logits are one of the outputs, or give it by a softmax or sigmoid."""
    for place, features, linear in found:
        width = linear.num_classes
        if any(each.shape[1] == width and is_linked(linear(features), each) for each in outputs):
            return Head(place, _two_rows(linear), features, width)
    return None


def _rescaled_head(arch: str, found: Iterable[Candidate], outputs: list[Tensor]) -> Head | None:
    """The first candidate whose logits, scaled and shifted, are one of the outputs or give it."""
    for place, features, linear in found:
        width = linear.num_classes
        for output in outputs:
            fitted = fit_scale(linear(features), output.double()) if output.shape[1] == width else None
            if fitted is None:
                continue
            scale, shift = fitted
            own = Linear((linear.weight * scale[:, None]).float(), (linear.bias * scale + shift).float())
            note = f"'{arch}' scales or shifts the logits of layer '{place}'; its own classifier includes that"
            return Head(place, _two_rows(own), features, width, (note,))
    return None


def _as_wide(outputs: list[Tensor], classes: int | None) -> list[Tensor]:
    """Take the first output that is as wide as there are classes; all of them where none is."""
    return next(([each] for each in outputs if each.shape[1] == classes), outputs)


def _search_further(
    arch: str, network: nn.Module, images: Tensor, name: str | None = None, classes: int | None = None
) -> Head | None:
    """Look at products that no module makes, and at logits that are scaled or shifted; both take more images."""
    wide = _spread(images)
    output, calls = _further_pass(arch, network, wide)
    outputs = _as_wide(matrices(output, len(wide), arch), classes)
    found = [each for each in _candidates(calls, outputs) if name is None or Place.parse(each.place).name == name]
    head = _direct_head(found, outputs) or _rescaled_head(arch, found, outputs)
    return head and replace(head, features=head.features[: len(images)])


def _further_pass(arch: str, network: nn.Module, images: Tensor) -> tuple[object, list[Call]]:
    products: list[Call] = []
    failure = f"'{arch}' fails on a batch of {len(images)} images"
    with told_in_one_line(failure), Products(parameters_of(network), products.append):
        output, calls = watch(network, images, (nn.Linear, nn.Conv2d))
    return output, [*products, *calls]  # the last come first, and a layer is a better name than its weight


def _spread(images: Tensor) -> Tensor:
    """The images first, and more of other contrasts: eight of two."""
    return torch.cat([images, images.flip(2, 3) * 3, images.roll(1, 1) * 0.3 + 0.5, images.flip(3) * 10 - 3])


def _chosen_head(
    arch: str, network: nn.Module, images: Tensor, calls: list[Call], outputs: list[Tensor], name: str
) -> Head:
    """Give what enters the layer that the user names; with the own classifier where one within gives the outputs."""
    place = Place.parse(name)
    features = _features_at(arch, network, images, place)
    note = f"what enters layer '{name}' serves as features ({features.shape[1]} an image)"
    found = _direct_head(_reading(features, place.name, _candidates(calls, outputs)), outputs)
    found = found or _search_further(arch, network, images, place.name)
    if found is not None and Place.parse(found.place).name == place.name and place.token is None:
        return found  # perhaps of one token
    if found is not None and _is_same(found.features, features):
        return replace(found, place=name, features=features, notes=(note, *found.notes))
    width = outputs[choose_matrix(outputs, classifier_widths(network))].shape[1]
    return Head(name, None, features, width, (f"{note}; '{arch}' is not linear in them: a new classifier is fitted",))


def _features_at(arch: str, network: nn.Module, images: Tensor, place: Place) -> Tensor:
    """Give what is read at a place of the user's choice, heard before a layer can change its input."""
    layers = {layer: module for layer, module in network.named_modules() if layer}
    parameters = parameters_of(network)
    name, heard = place.name or "", list[Tensor]()
    if name not in layers and name not in parameters:
        raise unknown_name("layer", str(place), [*layers, *parameters], f"in '{arch}', given to --head")
    listener = Listener()
    if name in layers:
        listener.hear_input("head", layers[name], lambda x: place.vectors(x, layers[name]))
        parameters = {}
    product = Products({name: parameters[name]} if parameters else {}, lambda call: heard.append(call.input))
    with (
        told_in_one_line(f"--head {place}: '{arch}' cannot be read there"),
        listener.listening() as inputs,
        product,
        torch.inference_mode(),
    ):
        network(images)
    listener.close()
    found = [*inputs.get("head", []), *(place.vectors(x, None) for x in heard)]
    features = whole_batch(found, len(images)) if found else None
    if features is None:
        raise UserError(f"--head {place}: this layer of '{arch}' takes no tensor with an entry an image; name another")
    return features


def _reading(features: Tensor, name: str | None, found: Iterable[Candidate]) -> Iterator[Candidate]:
    """The candidates that read these features, and those of the layer itself."""
    for each in found:
        if Place.parse(each.place).name == name or _is_same(each.features, features):
            yield each


def _is_same(features: Tensor, others: Tensor) -> bool:
    return features.shape == others.shape and torch.allclose(features, others, rtol=1e-4, atol=1e-6)


def _two_rows(linear: Linear) -> Linear:
    """A single logit z as those of two classes, 0 and z."""
    if linear.num_classes != 1:
        return linear
    weight, bias = linear.weight, linear.bias
    return Linear(torch.cat([torch.zeros_like(weight), weight]), torch.cat([torch.zeros_like(bias), bias]))


def _output_width(module: nn.Module | None) -> int | None:
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) else None
