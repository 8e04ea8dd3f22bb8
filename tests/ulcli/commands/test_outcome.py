"""How a command ends."""

import pytest

from ulcli.commands.outcome import exit_status
from ulcli.errors import ExitCode


@pytest.mark.parametrize(
    ("unreadable", "failures", "status"),
    [
        (0, (), ExitCode.OK),
        (0, ("tripped",), ExitCode.GATE),
        (1, (), ExitCode.USAGE),
        (3, ("tripped", "tripped too"), ExitCode.USAGE),  # figures of some of the images prove nothing of the rest
    ],
)
def test_an_image_that_could_not_be_read_goes_before_a_gate(unreadable, failures, status):
    assert exit_status(unreadable=unreadable, failures=failures) is status
