"""The house: imports point down, make no circle, take no private name; a name has one meaning."""

import ast
from pathlib import Path

import pytest

from tools.floors import PACKAGE, ROOMS, Import, imports, modules, room

IMPORTS = list(imports())
# `__version__` stands in the package's first lines, before it imports anything.
DOWN = [i for i in IMPORTS if i.name != "__version__"]


def climbs(found: Import) -> bool:
    """Whether an import points up, or to the right."""
    return ROOMS.index(room(found.importer)) < ROOMS.index(room(found.imported))


def circle(found: list[Import]) -> list[str]:
    """Modules that import each other in a ring, or nothing."""
    uses: dict[str, set[str]] = {}
    for i in found:
        uses.setdefault(i.importer, set()).add(i.imported)

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module) :]
        return next((c for m in uses.get(module, ()) if (c := walk(m, [*path, module]))), [])

    return next((c for module in uses if (c := walk(module, []))), [])


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_every_module_is_in_a_room_and_every_room_is_there():
    assert {room(module) for module in modules()} == set(ROOMS)


def test_imports_point_down():
    assert [i for i in DOWN if climbs(i)] == []


def test_imports_make_no_circle():
    assert circle(DOWN) == []


def test_no_private_name_of_another_module_is_used():
    """Neither imported nor taken as an attribute of an imported module."""
    assert [i for i in IMPORTS if private(i.name)] == []
    taken = []
    for module, path in modules().items():
        names = {i.name for i in IMPORTS if i.importer == module and i.imported.endswith(i.name)}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in names
                and private(node.attr)
            ):
                taken.append(f"{module}: {node.value.id}.{node.attr}")
    assert taken == []


def definitions() -> dict[str, list[str]]:
    """Public functions and classes of module level -> the modules that define them."""
    found: dict[str, list[str]] = {}
    for module, path in modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(module)
    return found


# The same verb on two floors, each in the words of its own: a study runs runs, and so on.
SHARED = {
    "main": "every command",
    "run": "a run, and a study of runs",
    "load": "a run, and the rows of a study",
    "evaluate": "a model, a run, and the command for it",
    "train": "the loop, and the command for it",
    "names": "of measures",
}


def test_a_public_name_has_one_meaning():
    twice = {name: where for name, where in definitions().items() if len(where) > 1}
    assert {name: where for name, where in twice.items() if name not in SHARED} == {}


# --- the tests themselves can fail ----------------------------------------------------------------


@pytest.fixture
def house(tmp_path: Path):
    """A small package with a file for each text."""

    def build(**texts: str) -> list[Import]:
        package = tmp_path / PACKAGE.name
        for name, text in texts.items():
            path = package / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return list(imports(package))

    return build


@pytest.mark.parametrize(
    "text, target",
    [
        ("from ..learning import training", "learning.training"),
        ("from ..learning.training import train", "learning.training"),
        ("from tutorial_dssm.learning.training import train", "learning.training"),
        ("def f():\n    from ..learning.training import train", "learning.training"),
    ],
)
def test_an_import_that_climbs_is_found(house, text, target):
    found = house(models__dks=text, learning__training="def train(): ...")
    assert [(i.importer, i.imported) for i in found] == [("models.dks", target)]
    assert all(climbs(i) for i in found)


def test_a_circle_is_found(house):
    found = house(data__a="from . import b", data__b="from .c import x", data__c="from .a import y")
    assert sorted(circle(found)) == ["data.a", "data.b", "data.c"]
    assert not any(climbs(i) for i in found)
