"""The floors of the package, once: the test of the imports and the page "Architecture" read them.

python -m tools.floors      print every room with the rooms that it uses
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tools import ROOT

PACKAGE = ROOT / "src" / "tutorial_dssm"


class Floor(NamedTuple):
    """Rooms (folders or files of the package) that stand beside each other, from left to right."""

    name: str
    rooms: tuple[str, ...]


# From the cellar to the roof. An import points to a room further to the left or further down.
FLOORS = (
    Floor("doors to names and disk", ("names", "files")),
    Floor("ground floor: nothing is learned", ("probability", "data")),
    Floor("first floor: models", ("networks", "models")),
    Floor("second floor: learning and judging", ("learning", "evaluation", "closed_form")),
    Floor("top floor: runs and figures", ("experiments", "figures")),
    Floor("front door and command line", ("__init__", "__main__")),
)
ROOMS = tuple(room for floor in FLOORS for room in floor.rooms)


class Import(NamedTuple):
    """One name that a module takes from another module of the package."""

    importer: str  # such as models.dks
    imported: str  # such as networks.layers; a folder where its __init__ gives the name
    name: str
    line: int


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Every module by its dotted name inside the package; a folder is its __init__."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(package: Path = PACKAGE) -> Iterator[Import]:
    """Every import of the package's own modules, those inside functions too."""
    known = modules(package)
    for importer, path in known.items():
        parts = list(path.relative_to(package).with_suffix("").parts[:-1])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = parts[: len(parts) + 1 - node.level]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package.name):
                base = []
            else:
                continue
            module = (node.module or "").removeprefix(package.name).strip(".")
            where = ".".join([*base, *filter(None, [module])])
            for alias in node.names:
                whole = f"{where}.{alias.name}".strip(".")
                target = whole if whole in known else where or "__init__"
                yield Import(importer, target, alias.name, node.lineno)


def room(module: str) -> str:
    """The room that a module is in: models.dks is in models."""
    return module.split(".")[0]


def main() -> int:
    """Every room with the rooms that it uses."""
    uses: dict[str, set[str]] = {name: set() for name in ROOMS}
    for found in imports():
        uses[room(found.importer)].add(room(found.imported))
    for floor in reversed(FLOORS):
        print(floor.name)
        for name in floor.rooms:
            print(f"  {name:12} {', '.join(sorted(uses[name] - {name}, key=ROOMS.index))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
