"""docs/commands.md says what the code says: its tables are fresh, and no option of a command is missing."""

import re
import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ulcli.app import app

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "commands.md").read_text(encoding="utf-8")
REFERENCE = runpy.run_path(str(DOCS / "make_reference.py"))


def test_the_tables_are_fresh():
    assert REFERENCE["fill"](PAGE) == PAGE, "run `make reference`"


def test_every_block_is_on_the_page_once():
    names = re.findall(r"^<!-- made by docs/make_reference\.py: (.*) -->$", PAGE, re.MULTILINE)
    assert sorted(names) == sorted(REFERENCE["BLOCKS"])
    assert PAGE.count("<!-- end -->") == len(names)


def test_what_lies_between_the_lines_of_a_block_is_replaced_and_nothing_else():
    block = "before\n<!-- made by docs/make_reference.py: exit codes -->\n{}<!-- end -->\nafter <!-- end -->\n"
    filled = REFERENCE["fill"](block.format("stale\n"))
    assert filled == block.format(f"\n{REFERENCE['exit_codes']()}\n")
    assert REFERENCE["fill"](filled) == filled
    assert "| 2 | wrong usage" in filled


@pytest.mark.parametrize("command", ["train", "evaluate", "score", "info"])
def test_every_option_of_a_help_page_is_described(command):
    """Read from the help as a person sees it, not from what the tables are made of."""
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    names = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", shown.output)) - {"--help"}
    assert len(names) >= 1
    (section,) = re.findall(rf"^## `ul {command} .*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    documented = set(re.findall(r"^\| (`--.*?) \|", section, re.MULTILINE))
    assert names <= {name for cell in documented for name in re.findall(r"--[a-z-]+", cell)}


def test_the_options_table_tells_defaults_and_choices():
    rows = REFERENCE["options"]("train").splitlines()
    assert "| `--flag-rate` | Share of" in "\n".join(rows)
    (batch,) = [row for row in rows if "--batch-size" in row]
    assert batch == "| `--batch-size`, `-b` | Images per pass through the network. | `64` |"
    (val,) = [row for row in rows if row.startswith("| `--val`")]
    assert val == "| `--val` `DATA` | Validation images. | the val part of --data |"
    (root,) = [row for row in rows if "--data-root" in row]
    assert root.endswith("| `UL_DATA_ROOT`, else data |")
