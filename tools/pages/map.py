"""The map of the chapters, and one with each part marked: `python -m tools.pages.map [--check]`.

A row is a part. How far it stands to the right, and where its title stands, is chosen so that the
arrows cross no box and no title, where that is possible.
"""

import itertools
import sys
import textwrap
from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from tools import generated
from tools.chapters import PARTS, Chapter, chapters
from tools.generated import MADE, Picture
from tutorial_dssm.figures import style

WIDTH, HEIGHT, COLUMN, ROW = 1.8, 0.85, 2.1, 1.5  # of a box; from one to the next
INCH = 0.892  # of the figure, for a unit of length
LETTERS = 16  # in a line of a box
COLOURS = (style.SKY, style.GREEN, style.ORANGE, style.PURPLE)
TITLES = [f"{part.numeral}  {part.name}" for part in PARTS]
BOLD = FontProperties(weight="bold", size=12)


class Box(NamedTuple):
    """A rectangle by its centre."""

    x: float
    y: float
    width: float = WIDTH
    height: float = HEIGHT

    def crossings(self, points: np.ndarray) -> int:
        """How many of the points [M, 2] lie in it."""
        inside = np.abs(points - (self.x, self.y)) < (self.width / 2, self.height / 2)
        return int(inside.all(axis=1).sum())

    def overlaps(self, other: "Box") -> bool:
        """Whether both have a point in common."""
        return (
            abs(self.x - other.x) < (self.width + other.width) / 2
            and abs(self.y - other.y) < (self.height + other.height) / 2
        )


Boxes = dict[int, Box]  # by the number of the chapter


def rows(found: list[Chapter]) -> list[list[Chapter]]:
    """The chapters of each part."""
    return [[c for c in found if c.part == k + 1] for k in range(len(PARTS))]


def arrow(tail: Box, head: Box) -> np.ndarray:
    """From one box to another: start, control point and end of a parabola, [3, 2].

    From row to row it is straight, and the nearer to the corners the more rows lie between. Within
    a row it leads to the next box, and passes below those between.
    """
    low, depth = -HEIGHT / 2, 0.0
    if tail.y != head.y:
        aside = np.sign(head.x - tail.x) * min(0.25 + 0.25 * (tail.y - head.y) / ROW, 0.8)
        ends = np.array([(tail.x + aside, tail.y + low), (head.x - aside, head.y - low)])
    elif head.x - tail.x < 1.5 * COLUMN:
        ends = np.array([(tail.x + WIDTH / 2, tail.y), (head.x - WIDTH / 2, head.y)])
    else:
        ends, depth = np.array([(tail.x + 0.5, tail.y + low), (head.x - 0.5, head.y + low)]), 0.35
    return np.array([ends[0], ends.mean(axis=0) - (0.0, depth), ends[1]])


def arrows(found: list[Chapter], boxes: Boxes) -> list[np.ndarray]:
    """One from each chapter to each that needs it."""
    return [arrow(boxes[need], boxes[c.number]) for c in found for need in c.needs]


def along(drawn: np.ndarray) -> np.ndarray:
    """Points on an arrow, without its ends: [M, 2]."""
    t = np.linspace(0.0, 1.0, 101)[1:-1, None]
    return (1 - t) ** 2 * drawn[0] + 2 * t * (1 - t) * drawn[1] + t**2 * drawn[2]


def place(found: list[Chapter]) -> Boxes:
    """The chapters' boxes: of all ways to move rows to the right by whole columns, the one whose
    arrows cross the least of the boxes and, among such, are the shortest.
    """
    columns = max(map(len, rows(found)))
    shifts = itertools.product(*(range(columns - len(row) + 1) for row in rows(found)))
    ways = [
        {
            chapter.number: Box(COLUMN * (shift + column), -ROW * k)
            for k, (shift, row) in enumerate(zip(way, rows(found), strict=True))
            for column, chapter in enumerate(row)
        }
        for way in shifts
    ]

    def cost(boxes: Boxes) -> tuple[int, float]:
        drawn = arrows(found, boxes)
        crossed = sum(box.crossings(along(a)) for a in drawn for box in boxes.values())
        return crossed, sum(np.hypot(*(a[2] - a[0])) for a in drawn)

    return min(ways, key=cost)


def place_titles(found: list[Chapter], boxes: Boxes) -> list[Box]:
    """The parts' titles: each above, beside or below its row, where the least is in the way."""
    drawn = [along(a) for a in arrows(found, boxes)]
    left = min(box.x for box in boxes.values()) - WIDTH / 2 - 0.01
    right = max(box.x for box in boxes.values()) + WIDTH / 2 + 0.01
    bottom = min(box.y for box in boxes.values()) - HEIGHT / 2
    taken: list[Box] = []

    def in_the_way(title: Box) -> int:
        outside = title.x - title.width / 2 < left or title.x + title.width / 2 > right
        bad = (outside or title.y < bottom) + sum(title.overlaps(other) for other in taken)
        return 1000 * bad + sum(title.crossings(points) for points in drawn)

    for title, row in zip(TITLES, rows(found), strict=True):
        width = TextPath((0, 0), title, prop=BOLD).get_extents().width / 72 / INCH
        first, last = boxes[row[0].number], boxes[row[-1].number]
        flush = (first.x - (WIDTH - width) / 2, last.x + (WIDTH - width) / 2)
        beside = (first.x - (WIDTH + width) / 2 - 0.2, last.x + (WIDTH + width) / 2 + 0.2)
        levels = {first.y + 0.62: flush, first.y: beside, first.y - 0.64: flush}
        places = [Box(x, y, width, 0.3) for y, centres in levels.items() for x in centres]
        taken.append(min(places, key=in_the_way))
    return taken


def wrapped(chapter: Chapter) -> list[str]:
    """The lines in a box: two of about the same length, or more where those are too long."""
    for letters in range(1, LETTERS + 1):
        lines = textwrap.wrap(
            chapter.short, letters, break_on_hyphens=False, break_long_words=False
        )
        if len(lines) <= 2 and max(map(len, lines)) <= LETTERS:
            break
    return lines


def draw(found: list[Chapter], marked: int | None = None) -> Figure:
    """All chapters in the rows of their parts, an arrow from each to those that need it; with
    `marked`, the place of a part in the list, the other parts are pale.
    """
    boxes = place(found)
    width = max(box.x for box in boxes.values()) + 2.0
    height = ROW * (len(PARTS) - 1) + 1.5
    figure = Figure(figsize=(INCH * width, INCH * height))
    axes = figure.add_axes((0, 0, 1, 1))
    for k, (title, box) in enumerate(zip(TITLES, place_titles(found, boxes), strict=True)):
        weight = "bold" if marked in (None, k) else "normal"
        look = {"va": "center", "color": "#333333", "fontsize": 12, "weight": weight}
        look["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(box.x - box.width / 2, box.y, title, **look)
    for points in arrows(found, boxes):
        path = Path(points, [Path.MOVETO, Path.CURVE3, Path.CURVE3])
        look = {"arrowstyle": "-|>", "mutation_scale": 12, "color": "#555555", "lw": 1.2}
        axes.add_patch(FancyArrowPatch(path=path, zorder=0.5, **look))
    for chapter in found:
        box, k = boxes[chapter.number], chapter.part - 1
        shade = np.array(to_rgb(COLOURS[k]))
        fill = 1 - (1 - shade) / 3 if marked in (None, k) else "#FFFFFF"
        look = {"facecolor": fill, "edgecolor": shade, "linewidth": 1.6}
        corner = (box.x - WIDTH / 2, box.y - HEIGHT / 2)
        rounded = "round,pad=0,rounding_size=0.1"
        axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle=rounded, **look))
        look = {"ha": "center", "va": "center", "color": "#222222"}
        number = str(chapter.number)
        axes.text(corner[0] + 0.22, box.y, number, fontsize=14, weight="bold", **look)
        axes.text(box.x + 0.18, box.y, "\n".join(wrapped(chapter)), fontsize=9.5, **look)
    axes.set(xlim=(-1.0, width - 1.0), ylim=(0.85 - height, 0.85))
    axes.axis("off")
    return figure


def made() -> dict[str, Picture]:
    """The map, and the map of each part."""
    found = chapters()
    shown = [TITLES, COLOURS, [(c.number, c.part, c.needs, c.short) for c in found]]
    maps = {"map": None, **{f"map_part{k + 1}": k for k in range(len(PARTS))}}
    return {
        f"{MADE}/{name}.svg": Picture([marked, *shown], partial(draw, found, marked))
        for name, marked in maps.items()
    }


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    return generated.command(made, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
