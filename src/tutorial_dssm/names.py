"""The only door to names: registries, and what an unknown name is answered with."""

import difflib
import importlib
import os
from collections.abc import Iterable
from typing import NoReturn, TypeVar

T = TypeVar("T")
USE = "TUTORIAL_DSSM_USE"  # names of modules that register more, separated by commas


def unknown(what: str, name: str, known: Iterable[str]) -> NoReturn:
    """Raise ValueError for a name that is none of `known`, with the nearest one."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, 1, 0.0)
    hint = f"; did you mean {nearest[0]!r}? Known: {', '.join(known)}" if nearest else ""
    raise ValueError(f"unknown {what} {name!r}{hint}")


def check(what: str, name: str, known: Iterable[str]) -> None:
    """Raise ValueError, with the nearest known name, unless `name` is one of `known`."""
    known = list(known)
    if name not in known:
        unknown(what, name, known)


class Registry(dict[str, T]):
    """Things of one kind by name. A file of the package adds its own; so may any other code."""

    def __init__(self, what: str):
        super().__init__()
        self.what = what

    def add(self, name: str, entry: T) -> None:
        """Register an entry. ValueError for a name that is taken."""
        if name in self:
            raise ValueError(f"the {self.what} {name!r} is registered already")
        self[name] = entry

    def __missing__(self, name: str) -> NoReturn:
        unknown(self.what, name, self)


def use(module: str) -> None:
    """Import a module that registers models, objectives or data sets, here and in all workers.

    Workers are processes of their own that inherit the environment, so the name goes there.

    ValueError when there is no such module.
    """
    try:
        importlib.import_module(module)
    except (ModuleNotFoundError, ValueError) as error:
        raise ValueError(f"cannot use the module {module!r} ({error})") from error
    known = os.environ.get(USE, "").split(",")
    os.environ[USE] = ",".join(dict.fromkeys([*filter(None, known), module]))


def use_all() -> None:
    """Import every module that the environment names, as a worker does."""
    for module in filter(None, os.environ.get(USE, "").split(",")):
        importlib.import_module(module)
