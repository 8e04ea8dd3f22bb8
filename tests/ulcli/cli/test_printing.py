"""What of a result goes to which stream, and how the process ends."""

import csv
import io
import itertools
import json
import re
from dataclasses import dataclass, replace

import pytest
from results import evaluation, training

from ulcli.cli.printing import choose, close, write
from ulcli.commands.evaluate import Requirement
from ulcli.commands.info import InfoResult
from ulcli.commands.score import ScoreResult, Tally
from ulcli.commands.settings import Limit
from ulcli.errors import ExitCode, UserError
from ulcli.evaluation.estimates import Estimate
from ulcli.evaluation.verdict import Verdict
from ulcli.expressions import Condition
from ulcli.output import views
from ulcli.output.formats import Format
from ulcli.output.rows import Rows
from ulcli.output.shapes import Shape

VERDICT = Verdict(0.9, "knn", 0.8, Estimate(0.1, 0.05, 0.15))
QUIET = pytest.mark.parametrize("quiet", [[], ["-q"]])


@dataclass
class Ended:
    """How a command ended."""

    status: ExitCode = ExitCode.OK
    summary: str | None = "all is told"
    failures: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("ended", "quiet", "err"),
    [
        (Ended(), False, "all is told\n"),
        (Ended(), True, ""),
        (Ended(summary=None), False, ""),
        (Ended(ExitCode.GATE, failures=("one", "two")), False, "all is told\nul: one\nul: two\n"),
        (Ended(ExitCode.GATE, failures=("one",)), True, "ul: one\n"),
        (Ended(ExitCode.USAGE), True, ""),
    ],
)
def test_close(ended, quiet, err, capsys):
    assert close(ended, quiet=quiet) is ended.status
    assert capsys.readouterr() == ("", err)


def test_choose_looks_at_the_place_and_the_format_before_the_work(tmp_path):
    assert choose(None, None, views.TRAIN) is Format.TABLE
    assert choose(None, tmp_path / "a.csv", views.EVALUATE) is Format.CSV
    assert choose(Format.JSONL, tmp_path / "a.csv", views.EVALUATE) is Format.JSONL
    with pytest.raises(UserError, match="there is no directory"):
        choose(Format.CSV, tmp_path / "none" / "a.csv", views.EVALUATE)
    with pytest.raises(UserError, match="--format csv writes rows, which this result is not"):
        choose(Format.CSV, None, views.TRAIN)
    assert not list(tmp_path.iterdir())


def test_write_returns_the_shape_that_was_written(tmp_path, capsys):
    view = {Shape.ROWS: lambda: Rows(("a",), [{"a": 1}]), Shape.DOCUMENT: lambda: {"b": 2}}
    assert write(view, Format.JSON, None) is Shape.DOCUMENT
    assert json.loads(capsys.readouterr().out) == {"b": 2}
    assert write(view, Format.CSV, tmp_path / "a.csv") is Shape.ROWS
    assert (tmp_path / "a.csv").read_text() == "a\n1\n"
    assert capsys.readouterr().out == ""


@pytest.fixture
def answer(monkeypatch):
    """Let a command find the given result without the work."""
    return lambda command, result: monkeypatch.setattr(
        f"ulcli.commands.{command}.{command}", lambda *settings_and_reporter: result
    )


class TestTrain:
    @QUIET
    @pytest.mark.parametrize("form", [None, "table", "json", "jsonl"])
    def test_quiet_leaves_out_the_table_and_the_last_line_but_no_document(self, ul, answer, quiet, form):
        answer("train", training(epochs=3, seconds=12.345))
        ran = ul("train", *(["-f", form] if form else []), *quiet)
        assert ran.code == 0
        assert ran.err == ("" if quiet else "wrote m.pt (1,000 images, 3 epochs, 12.3 s)\n")
        if form in ("json", "jsonl"):
            assert json.loads(ran.out)["after"]["nll"] == 0.27
            assert ran.out.count("\n") == 1 or form == "json"
        else:
            assert ("validation images" in ran.out) is (not quiet)
            assert ran.out == "" or not quiet

    @pytest.mark.parametrize(("unreadable", "code"), [(0, 0), (1, 2)])
    @QUIET
    def test_status(self, ul, answer, unreadable, code, quiet):
        result = training(unreadable=unreadable)
        answer("train", result)
        assert ul("train", *quiet).code == result.status == code
        assert result.failures == ()


class TestEvaluate:
    @QUIET
    @pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl"])
    def test_the_verdict_is_told_only_where_the_output_has_no_place_for_it(self, ul, answer, quiet, form):
        answer("evaluate", evaluation(verdict=VERDICT))
        ran = ul("evaluate", "m.pt", "-f", form, *quiet)
        assert ran.code == 0
        rows = form in ("csv", "jsonl")
        assert (str(VERDICT) in ran.out) is (not rows)
        assert ran.err == (f"{VERDICT}\n" if rows and not quiet else "")

    def test_without_a_verdict_nothing_is_told(self, ul, answer):
        answer("evaluate", evaluation())
        assert ul("evaluate", "m.pt", "-f", "csv").err == ""

    @pytest.mark.parametrize(("unreadable", "unmet"), [*itertools.product([0, 1, 3], [0, 1, 2])])
    @QUIET
    def test_status(self, ul, answer, unreadable, unmet, quiet):
        bounds = [0.9, *[0.99, 0.999][:unmet]]
        requirements = tuple(Requirement(Condition("accuracy", ">=", bound), 0.97) for bound in bounds)
        answer("evaluate", evaluation(unreadable=unreadable, requirements=requirements))
        ran = ul("evaluate", "m.pt", *quiet)
        assert ran.code == (2 if unreadable else 1 if unmet else 0)
        told = [f"ul: requirement not met: accuracy>={bound}, measured 0.9700" for bound in bounds[1:]]
        assert ran.err.splitlines() == told

    @pytest.mark.parametrize("suffix", ["csv", "json", "jsonl", "txt"])
    def test_to_a_file(self, ul, answer, tmp_path, suffix):
        answer("evaluate", evaluation(verdict=VERDICT))
        ran = ul("evaluate", "m.pt", "-o", tmp_path / f"figures.{suffix}")
        text = (tmp_path / f"figures.{suffix}").read_text()
        assert (ran.code, ran.out) == (0, "")
        assert (str(VERDICT) in text, str(VERDICT) in ran.err) in [(True, False), (False, True)]
        assert "0.97" in text


def scored(*, error=None, limit=None, flagged=True):
    row = {"path": "a.png", "predicted": "cat", "confidence": 0.25, "vacuity": 0.5, "dissonance": 0.75}
    tally = Tally()

    def rows():
        for number in range(3):
            each = {**row, "path": f"{number}.png", "vacuity": number / 10, "reason": None, "flagged": flagged}
            each["error"] = error if number == 2 else None
            tally.count(each)
            yield each

    return ScoreResult([*row, "flagged", "error"], rows(), "vacuity>0", limit, tally)


class TestScore:
    @QUIET
    @pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl"])
    def test_the_counts_are_complete_when_they_are_told(self, ul, answer, quiet, form):
        answer("score", scored())
        ran = ul("score", "m.pt", "a.png", "-f", form, *quiet)
        assert ran.code == 0
        assert all(f"{number}.png" in ran.out for number in range(3))
        assert ran.err == ("" if quiet else "3 images: 3 flagged (vacuity>0), 0 unreadable\n")

    @QUIET
    @pytest.mark.parametrize(("error", "gate"), [*itertools.product([None, "no such file"], [False, True])])
    def test_status(self, ul, answer, error, gate, quiet):
        answer("score", scored(error=error, limit=Limit(1 if gate else 3, is_share=False)))
        ran = ul("score", "m.pt", "a.png", "-f", "csv", *quiet)
        assert ran.code == (2 if error else 1 if gate else 0)
        assert len(list(csv.DictReader(io.StringIO(ran.out)))) == 3
        lines = ran.err.splitlines()
        expected = [] if quiet else [f"3 images: 3 flagged (vacuity>0), {int(error is not None)} unreadable"]
        expected += [f"ul: more than --max-flagged 1: 3 of {2 if error else 3} images"] if gate else []
        assert lines == expected

    @pytest.mark.parametrize(("top", "shown"), [([], ["2.png", "1.png", "0.png"]), (["--top", 2], ["2.png", "1.png"])])
    def test_top(self, ul, answer, top, shown):
        answer("score", scored())
        assert re.findall(r"\d\.png", ul("score", "m.pt", "a.png", *top).out) == shown
        answer("score", scored())
        assert ul("score", "m.pt", "a.png", "-f", "csv", *top).out.count(".png") == 3

    def test_fifty_rows_are_shown(self, ul, answer):
        result = scored()
        many = ({**row, "path": f"{number}.png"} for row in list(result.rows)[:1] for number in range(60))
        answer("score", replace(result, rows=many))
        assert ul("score", "m.pt", "a.png").out.count(".png") == 50

    @pytest.mark.parametrize("top", [0, -1])
    def test_less_than_a_row_makes_no_sense(self, ul, top):
        ran = ul("score", "m.pt", "a.png", "--top", top)
        assert ran.code == 2
        assert "--top" in ran.error_line


class TestInfo:
    def test_fields(self, ul, answer):
        answer("info", InfoResult("m.pt", 99, {"classes": ["a", "b"], "prior": 0.25}))
        ran = ul("info", "m.pt", "-f", "json")
        assert (ran.code, ran.err) == (0, "")
        assert json.loads(ran.out) == {"path": "m.pt", "size": 99, "classes": ["a", "b"], "prior": 0.25}
        text = ul("info", "m.pt").out
        assert re.search(r"classes +a, b", text)
        assert re.search(r"prior +0.25", text)

    def test_a_format_that_it_cannot_be_written_in(self, ul):
        assert "use --format table or json or jsonl" in ul("info", "none.pt", "-f", "csv").error_line


@pytest.mark.parametrize(
    ("command", "arguments"), [("evaluate", ["none.pt"]), ("score", ["none.pt", "none.png"]), ("train", ["none.pth"])]
)
def test_an_output_that_cannot_be_written_is_told_before_the_work(ul, command, arguments):
    ran = ul(command, *arguments, "-o", "nowhere/rows.csv")
    assert ran.code == 2
    assert "no directory 'nowhere'" in ran.error_line
