"""User errors read as one line and name what would have worked."""

import pytest

from ulcli.errors import ExitCode, UserError, shorten, unknown_name


def test_exit_codes_are_what_scripts_rely_on():
    assert [int(code) for code in ExitCode] == [0, 1, 2, 70, 130, 141]


def test_a_message_is_one_line():
    assert str(UserError("first\n\tsecond   third ")) == "first second third"


@pytest.mark.parametrize(
    ("name", "known", "message"),
    [
        ("resnet19", ["resnet18", "vgg11"], "unknown net 'resnet19'; did you mean 'resnet18'?"),
        ("Digits", ["digits", "noise"], "unknown net 'Digits'; did you mean 'digits'?"),
        ("aab", ["aaa", "aac"], "unknown net 'aab'; did you mean 'aac' or 'aaa'?"),
        ("xyz", ["b", "a"], "unknown net 'xyz'; known: a, b"),
        ("xyz", list("abcdefghijkl"), "unknown net 'xyz'; known: a, b, c, d, e, f, g, h, i, j, k, l"),
        ("xyz", [f"net{i}" for i in range(13)], "unknown net 'xyz'"),
        ("xyz", [], "unknown net 'xyz'"),
    ],
)
def test_unknown_name_tells_near_or_few_names(name, known, message):
    assert str(unknown_name("net", name, known)) == message


def test_unknown_name_ends_in_its_hint():
    assert str(unknown_name("net", "x", [], "see --arch")) == "unknown net 'x' (see --arch)"


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([], ""),
        (["a"], "'a'"),
        (["a", "b", "c"], "'a', 'b', 'c'"),
        (["a", "b", "c", "d", "e"], "'a', 'b', 'c' and 2 more"),
    ],
)
def test_shorten(items, text):
    assert shorten(iter(items)) == text
