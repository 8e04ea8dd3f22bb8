"""The order of the rooms: a module imports only from rooms before its own, and help pages import nothing heavy.

`python tests/test_layers.py` draws which room imports from which.
"""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASE = ("errors", "files", "expressions", "reporting", "rows")
ROOMS = (
    "uncertainty_loss",
    "base",
    "data",
    "network",
    "model",
    "evaluation",
    "engine",
    "commands",
    "output",
    "cli",
    "app",
)
HEAVY = ("torch", "torchvision", "timm", "transformers", "sklearn", "scipy", "matplotlib", "ray")
LIBRARY_NEEDS = {"torch", "numpy", "scipy"}


@dataclass(frozen=True)
class Import:
    """One module that a line imports."""

    file: str
    line: int
    importer: str
    imported: str

    @property
    def rooms(self) -> tuple[str, str]:
        return room(self.importer), room(self.imported)

    @property
    def is_upward(self) -> bool:
        here, there = map(ROOMS.index, self.rooms)
        return there > here

    def __str__(self) -> str:
        here, there = self.rooms
        return f"{self.file}:{self.line}: {here} imports {self.imported}, of {there}"


def room(module: str) -> str:
    """The room of a module of ours."""
    package, *rest = module.split(".")
    if package == "uncertainty_loss":
        return package
    if not rest or rest == ["__main__"]:
        return "app"  # the doors
    return "base" if rest[0] in BASE else rest[0]


def imports(source: str, module: str, file: str) -> Iterator[Import]:
    """Every import of a module: at its top, inside functions, and for types only."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(file, node.lineno, module, name)


def every_import() -> Iterator[Import]:
    """Those of both packages, file by file."""
    for path in sorted(path for package in ("uncertainty_loss", "ulcli") for path in (ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield from imports(path.read_text(encoding="utf-8"), module, str(path.relative_to(ROOT)))


def ours(found: Iterator[Import]) -> Iterator[Import]:
    """Those of our own modules. Of `ulcli` itself any module may have the version: it is imported before all others."""
    for each in found:
        if each.imported.startswith(("uncertainty_loss", "ulcli.")) and each.imported != "ulcli.__version__":
            yield each


def drawing() -> str:
    """Room by room, from the top down, what each imports from, with the number of names."""
    arrows = Counter(each.rooms for each in ours(every_import()) if each.rooms[0] != each.rooms[1])
    ordered = sorted(arrows, key=lambda pair: tuple(map(ROOMS.index, pair)), reverse=True)
    lines = []
    for here, pairs in groupby(ordered, key=lambda pair: pair[0]):
        targets = ", ".join(f"{there} {arrows[here, there]}" for _, there in pairs)
        lines.append(f"{here:>16} -> {targets}")
    lines += [str(each) for each in ours(every_import()) if each.is_upward]
    return "\n".join(lines)


def test_every_module_lies_in_a_room():
    modules = {each.importer for each in every_import()} | {each.imported for each in ours(every_import())}
    assert {room(module) for module in modules} <= set(ROOMS)
    assert {each.rooms[0] for each in ours(every_import())} <= set(ROOMS)


def test_no_room_imports_from_one_after_it():
    upward = [str(each) for each in ours(every_import()) if each.is_upward]
    assert not upward, "\n".join(upward)


def test_the_library_needs_nothing_else():
    names = {each.imported.split(".")[0] for each in every_import() if room(each.importer) == "uncertainty_loss"}
    assert names - sys.stdlib_module_names - {"uncertainty_loss"} == LIBRARY_NEEDS


def test_imports_are_found_wherever_they_stand():
    source = """
import ulcli.app
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from ulcli.model.file import Model, read
def later():
    from ulcli import __version__, rows
    from ulcli.engine.local import Scorer
"""
    found = list(ours(imports(source, "ulcli.model.head", "head.py")))
    assert [(each.line, each.rooms[1], each.is_upward) for each in found] == [
        (2, "app", True),
        (5, "model", False),
        (5, "model", False),
        (7, "base", False),
        (8, "engine", True),
    ]
    assert str(found[-1]) == "head.py:8: model imports ulcli.engine.local.Scorer, of engine"


def test_help_pages_import_nothing_heavy():
    """In fresh processes, side by side."""
    script = (
        "import sys, ulcli.app as app\n"
        "try: app.main()\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        f"found = sorted(set({HEAVY}) & set(sys.modules))\n"
        "assert not found, found"
    )
    pages = (["--help"], ["train", "--help"], ["evaluate", "--help"], ["score", "--help"], ["info", "--help"])
    started = [
        subprocess.Popen([sys.executable, "-c", script, *page], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for page in pages
    ]
    for page, process in zip(pages, started, strict=True):
        out, err = process.communicate()
        assert process.returncode == 0, f"{page}: {err.decode()}"
        assert b"Usage: ul" in out


if __name__ == "__main__":
    print(drawing())
