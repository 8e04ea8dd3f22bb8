"""Which images a training reads."""

import shutil

import numpy as np
import pytest

from ulcli.commands.settings import TrainSettings
from ulcli.commands.training_data import training_data, training_name
from ulcli.data.catalog import DataName
from ulcli.errors import UserError


def open_for(classes=None, **settings):
    return training_data(TrainSettings(**settings), classes)


def names(images):
    return [images.label_name(index) for index in range(len(images))]


@pytest.fixture
def split_folder(image_folder):
    """A data set with splits of its own: the number of images of either class is different in each."""

    def make(name="parts", **counts):
        counts = counts or {"train": (5, 6), "val": (3, 2), "test": (1, 4)}
        for split, (cats, dogs) in counts.items():
            path = image_folder({"cat": cats, "dog": dogs}, f"{name}-{split}")
            (path.parent / name).mkdir(exist_ok=True)
            path.rename(path.parent / name / split)
        return path.parent / name

    return make


class TestName:
    def test_what_is_said(self):
        assert training_name(TrainSettings(data="photos:train")) == DataName("photos", "train")

    def test_the_sample_classifier_has_data_of_its_own(self):
        assert training_name(TrainSettings()) == DataName("digits")

    @pytest.mark.parametrize("settings", [{"checkpoint": "x.pth"}, {"arch": "resnet18"}])
    def test_another_network_has_none(self, settings):
        with pytest.raises(UserError, match="say which labelled images to fit on with --data"):
            training_name(TrainSettings(**settings))


class TestSplits:
    def test_a_whole_is_cut(self, image_folder):
        folder = image_folder({"cat": 10, "dog": 20})
        images, validation = open_for(data=str(folder))
        assert (images.name, validation.name) == (f"{folder}:train", f"{folder}:val")
        assert (names(images).count("cat"), names(images).count("dog")) == (6, 12)
        assert (names(validation).count("cat"), names(validation).count("dog")) == (2, 4)
        paths = [{part.identify(index) for index in range(len(part))} for part in (images, validation)]
        assert not paths[0] & paths[1]

    @pytest.mark.parametrize("split", ["", ":train"])
    def test_splits_of_its_own(self, split_folder, split):
        images, validation = open_for(data=f"{split_folder()}{split}")
        assert np.bincount(images.labels).tolist() == [5, 6]
        assert np.bincount(validation.labels).tolist() == [3, 2]

    def test_another_whole_validates_with_all_of_it(self, image_folder):
        data, val = image_folder({"cat": 5, "dog": 5}), image_folder({"cat": 4, "dog": 7}, "other")
        images, validation = open_for(data=str(data), val=str(val))
        assert np.bincount(images.labels).tolist() == [3, 3]
        assert np.bincount(validation.labels).tolist() == [4, 7]

    def test_of_another_with_splits_the_validation_split(self, image_folder, split_folder):
        data, val = image_folder({"cat": 5, "dog": 5}), split_folder()
        assert np.bincount(open_for(data=str(data), val=str(val))[1].labels).tolist() == [3, 2]
        assert np.bincount(open_for(data=str(data), val=f"{val}:test")[1].labels).tolist() == [1, 4]

    def test_the_test_split_may_be_named(self, split_folder):
        folder = split_folder()
        assert np.bincount(open_for(data=str(folder), val=f"{folder}:test")[1].labels).tolist() == [1, 4]

    def test_every_image_may_be_fitted_on_with_others_to_validate(self, image_folder):
        data, val = image_folder({"cat": 5, "dog": 5}), image_folder({"cat": 4, "dog": 7}, "other")
        images, validation = open_for(data=f"{data}:all", val=str(val))
        assert (len(images), len(validation)) == (10, 11)

    @pytest.mark.parametrize("split", ["val", "test", "all"])
    def test_nothing_is_left_to_validate_with(self, split):
        with pytest.raises(UserError) as told:
            open_for(data=f"digits:{split}")
        expected = f"'digits:{split}' leaves nothing to validate with; give --val, or fit on 'digits:train'"
        assert str(told.value) == expected

    @pytest.mark.parametrize(
        ("data", "val"),
        [
            ("digits", "digits:train"),
            ("digits", "digits:all"),
            ("digits:train", "digits:train"),
            ("digits:val", "digits:val"),
            ("digits:test", "digits:all"),
        ],
    )
    def test_the_same_images_would_promise_too_much(self, data, val):
        with pytest.raises(UserError) as told:
            open_for(data=data, val=val)
        assert str(told.value) == (
            f"--val {val} holds images of --data {data}: thresholds from them would promise too much"
        )

    @pytest.mark.parametrize(("data", "val"), [("digits:val", "digits:train"), ("digits:val", "digits:test")])
    def test_parts_that_share_no_image(self, data, val):
        images, validation = open_for(data=data, val=val)
        assert (images.name, validation.name) == (data, val)

    def test_the_same_folder_by_another_path(self, image_folder, monkeypatch):
        folder = image_folder({"cat": 5, "dog": 5})
        monkeypatch.chdir(folder.parent)
        with pytest.raises(UserError, match="would promise too much"):
            open_for(data=str(folder), val=f"{folder.name}:train")
        assert len(open_for(data=str(folder), val=folder.name)[1]) == 2  # the val split of the same data

    def test_the_root_of_named_sets(self, tmp_path):
        with pytest.raises(UserError, match=f"{tmp_path}"):
            open_for(data="mnist", data_root=tmp_path)


class TestClasses:
    def test_held_out_classes_are_in_neither(self, image_folder):
        folder = image_folder({"ant": 5, "bee": 10, "cat": 15, "dog": 20})
        images, validation = open_for(data=str(folder), hold_out=["bee", "dog"])
        assert images.classes == validation.classes == ("ant", "cat")
        assert np.bincount(images.labels).tolist() == [3, 9]
        assert np.bincount(validation.labels).tolist() == [1, 3]
        assert (images.name, validation.name) == (f"{folder}:train", f"{folder}:val")

    def test_validation_images_may_lack_the_class_to_hold_out(self, image_folder):
        data = str(image_folder({"ant": 5, "bee": 5, "cat": 5}))
        val = str(image_folder({"ant": 2, "cat": 3}, "validation"))
        images, validation = open_for(data=data, val=val, hold_out=["bee"])
        assert images.classes == validation.classes == ("ant", "cat")
        assert np.bincount(validation.labels).tolist() == [2, 3]

    def test_a_class_to_hold_out_must_be_there(self, image_folder):
        with pytest.raises(UserError) as told:
            open_for(data=str(image_folder({"cat": 5, "dog": 5, "emu": 5})), hold_out=["emu", "dgo"])
        assert str(told.value) == "unknown class 'dgo'; did you mean 'dog'? (given to --hold-out)"

    @pytest.mark.parametrize(("counts", "hold_out", "left"), [((5,), [], 1), ((5, 5), ["b"], 1), ((5, 5), "ab", 0)])
    def test_too_few_classes(self, image_folder, counts, hold_out, left):
        folder = image_folder(dict(zip("ab", counts, strict=False)))
        with pytest.raises(UserError, match=rf"'.*:train' has too few classes to fit on \({left}\); .* two or more"):
            open_for(data=str(folder), hold_out=list(hold_out))

    def test_two_are_enough(self, image_folder):
        assert open_for(data=str(image_folder({"a": 5, "b": 5})))[0].classes == ("a", "b")

    def test_labels_count_among_the_classes_of_the_model(self, image_folder):
        data, val = image_folder({"cat": 5, "dog": 10}), image_folder({"cat": 4, "dog": 7}, "other")
        images, validation = open_for(("dog", "cat"), data=str(data), val=str(val))
        assert images.classes == validation.classes == ("dog", "cat")
        assert np.bincount(images.labels).tolist() == [6, 3]
        assert np.bincount(validation.labels).tolist() == [7, 4]
        assert names(images).count("dog") == 6

    @pytest.mark.parametrize(
        ("counts", "told"),
        [
            (("cat", "dog", "emu"), r"\(3\) differ from those of the model \(2\): 'emu' unknown to the model$"),
            (("cat", "emu"), r"\(2\) differ from those of the model \(2\): 'emu' unknown to the model; 'dog' missing$"),
        ],
    )
    def test_other_classes_than_the_model(self, image_folder, counts, told):
        folder = image_folder(dict.fromkeys(counts, 5))
        with pytest.raises(UserError, match=f"the classes of '{folder}:train' {told}"):
            open_for(("cat", "dog"), data=str(folder))

    @pytest.mark.parametrize(
        ("found", "told"),
        [
            (("cat",), r"\(1\) differ from those of '.*' \(2\): 'dog' missing$"),
            (("cat", "dog", "emu"), r"\(3\) differ from those of '.*' \(2\): 'emu' unknown to '.*:train'$"),
        ],
    )
    def test_validation_images_of_other_classes(self, image_folder, found, told):
        data, val = image_folder({"cat": 5, "dog": 5}), image_folder(dict.fromkeys(found, 5), "other")
        with pytest.raises(UserError, match=f"the classes of '{val}:all' {told}|the classes of '{val}' {told}"):
            open_for(data=str(data), val=str(val))


def test_copies_are_not_taken_for_the_same(image_folder, tmp_path):
    data = image_folder({"cat": 5, "dog": 5})
    shutil.copytree(data, tmp_path / "copy")
    assert len(open_for(data=str(data), val=str(tmp_path / "copy"))[1]) == 10
