"""Validation images that the checkpoint itself was trained on: what they promise is too good."""

from __future__ import annotations

from torch.nn import functional as F

from ulcli.network.features import LabelledFeatures
from ulcli.network.linear import Linear
from ulcli.reporting import Reporter

PROMISE = "what is promised holds for images like the validation images, if the checkpoint was trained on none of these"

_TRAINED = 0.99  # accuracy on the training images from which on a classifier was plainly trained on them
_ENOUGH = 200  # validation images: of fewer, one hard image decides
# On images that it has not seen, a network that has learned its training images by heart has several times their
# loss: on the digits 1.8 to 25 times, and 0.7 to 1.3 times on images that it was trained on like the others.
_NO_WORSE = 1.3


def tell_of_seen_images(
    own: Linear, training: LabelledFeatures, validation: LabelledFeatures, reporter: Reporter
) -> None:
    """Say what the promises rest on, and where the checkpoint's own classifier looks as if it had seen both sets.

    It looks so where the loss on the validation images is no worse than on training images that it was plainly trained
    on. Where it gets all of both right, an easy task looks the same: then this is a note, and no warning.
    """
    reporter.note(PROMISE)
    accuracy, loss = _accuracy_and_loss(own, training)
    other_accuracy, other_loss = _accuracy_and_loss(own, validation)
    if len(validation) < _ENOUGH or accuracy < _TRAINED or other_loss > _NO_WORSE * loss:
        return
    figures = f"{other_loss:.2g} on validation images, {loss:.2g} on training images"
    if accuracy == other_accuracy == 1:
        reporter.note(
            f"the checkpoint's own classifier gets every image right, with about the same loss ({figures}): the task "
            "is easy, or it was trained on the validation images too"
        )
    else:
        reporter.warn(
            f"the checkpoint's own classifier does no worse on validation images than on those that it was trained on "
            f"(loss {figures}): it was probably trained on both, and what is promised is then too good; give "
            "images with --val that it has not seen"
        )


def _accuracy_and_loss(classifier: Linear, features: LabelledFeatures) -> tuple[float, float]:
    right, loss = 0, 0.0
    # In parts: with a thousand classes the logits of a million images would be 8 GB.
    for values, labels in zip(features.values.split(10_000), features.labels.split(10_000), strict=True):  # type: ignore[no-untyped-call]
        logits = classifier(values)
        right += int((logits.argmax(1) == labels).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    return right / len(features), loss / len(features)
