"""Write docs/forms.md: which forms of checkpoint are read, and with which line the others are refused.

Run from the repository's root: python docs/make_forms.py (needs the extra 'test'). Each form is made and read.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "ulcli" / "network"))

from forms import ACCEPTED, REFUSED, Form, outcome  # noqa: E402

TARGET = Path(__file__).parent / "forms.md"
HEADER = """# Forms of checkpoints

Written by `python docs/make_forms.py`, which makes each of these files and reads it; every row is a test. A CHECKPOINT
is a file, the index of a file in shards, or the folder that holds one of them. Nothing in it can run code.

Of several state dicts in a file, averaged weights (EMA) come before raw ones, and the usual names before others. Of a
student and a teacher, the teacher is taken where both have the same shapes, else the student. `--weights-key NAME`
takes another one; NAME may be a path with dots, or what the keys of a state dict begin with.
"""


def table(title: str, forms: list[Form]) -> str:
    """The rows of some forms, as they are read now."""
    rows = [f"## {title}", "", "| form | what comes of it |", "| --- | --- |"]
    for form in forms:
        with tempfile.TemporaryDirectory() as folder:
            line, _ = outcome(form, Path(folder))
        rows.append(f"| {form.name} | {line.replace('|', '&#124;')} |")
    return "\n".join(rows)


def main() -> None:
    parts = (HEADER.rstrip(), table("Read", ACCEPTED), table("Refused", REFUSED))
    TARGET.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
