"""The floors of the package, for the pages "Architecture" and "The package".

    python -m tools.pages.architecture [--check]

They come from the list that a test holds the imports to.
"""

import ast
import re
import sys
import textwrap

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from tools import generated
from tools.floors import FLOORS, modules, room
from tools.generated import MADE, Picture
from tutorial_dssm.figures import style

HOUSE, API = f"{MADE}/house.svg", f"{MADE}/api.md"
WIDTH, GAP, LINE = 10.0, 0.25, 0.21  # of a floor, between two rooms, of a line of text; inches
CHAPTER = re.compile(r"ch\d\d_\w+")


def rooms() -> dict[str, list[str]]:
    """Room -> the modules in it; a room that is a file has none."""
    found: dict[str, list[str]] = {name: [] for floor in FLOORS for name in floor.rooms}
    for module in modules():
        if "." in module:
            found[room(module)].append(module.split(".", 1)[1])
    return found


def shown(name: str, inside: list[str], width: float) -> list[str]:
    """What stands in a room: its first sentence, and its modules; the chapters' as one."""
    path = modules()[name]
    purpose = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    sentence = purpose.split("\n")[0].split(": ", 1)[-1].rstrip(".").replace("`", "")
    chapters = [module for module in inside if CHAPTER.fullmatch(module)]
    others = [module for module in inside if module not in chapters]
    names = ["ch01 … ch10", *others] if chapters else others
    characters = int(12 * width)
    return [*textwrap.wrap(sentence, characters), *textwrap.wrap(", ".join(names), characters)]


def house() -> Figure:
    """Floors from below, rooms beside each other, the modules of each room in it."""
    texts, heights = {}, []
    for floor in FLOORS:
        width = (WIDTH - GAP * (len(floor.rooms) - 1)) / len(floor.rooms)
        texts |= {name: shown(name, rooms()[name], width) for name in floor.rooms}
        heights.append(LINE * (2.2 + max(len(texts[name]) for name in floor.rooms)))
    total = sum(heights) + 0.45 * len(FLOORS)
    figure = Figure(figsize=(WIDTH, total))
    axis = figure.add_axes((0, 0, 1, 1))
    bottom = 0.1
    for floor, height in zip(FLOORS, heights, strict=True):
        width = (WIDTH - GAP * (len(floor.rooms) - 1)) / len(floor.rooms)
        axis.text(0.1, bottom + height + 0.05, floor.name, fontsize=10, color="0.35")
        for k, name in enumerate(floor.rooms):
            left = k * (width + GAP)
            shape = ((left + 0.1, bottom + 0.05), width - 0.2, height - 0.1)
            box = FancyBboxPatch(*shape, boxstyle="round,pad=0.04", fc="0.97", ec=style.BLUE)
            axis.add_patch(box)
            axis.text(left + 0.15, bottom + height - 0.28, name, fontsize=12, weight="bold")
            text = "\n".join(texts[name])
            axis.text(left + 0.15, bottom + height - 0.38, text, fontsize=9.5, va="top")
        bottom += height + 0.42
    axis.set(xlim=(0, WIDTH), ylim=(0, bottom))
    axis.axis("off")
    return figure


def api() -> str:
    """Every module for Sphinx, floor by floor."""
    parts = []
    for floor in FLOORS:
        names = [m for m in modules() if room(m) in floor.rooms and not m.startswith("__")]
        names = [m for m in names if "." in m or modules()[m].name != "__init__.py"]
        names.sort(key=lambda m: (floor.rooms.index(room(m)), m))
        blocks = "\n".join(f".. automodule:: tutorial_dssm.{m}\n" for m in names)
        if blocks:
            title = floor.name[0].upper() + floor.name[1:]
            parts.append(f"## {title}\n\n```{{eval-rst}}\n{blocks}```\n")
    return "\n".join(parts)


def made() -> dict[str, str | Picture]:
    """The picture of the house, and the list of its modules."""
    return {API: generated.note(API) + api(), HOUSE: Picture([FLOORS, rooms()], house)}


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    return generated.command(made, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
