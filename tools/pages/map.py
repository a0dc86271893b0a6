"""The map of the chapters, and one with each part marked: `python -m tools.pages.map [--check]`."""

import sys
from functools import partial

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from tools import generated
from tools.generated import MADE, Picture

WIDTH, HEIGHT, COLUMN, ROW = 1.8, 0.85, 2.1, 1.5
# name: (colour, where it stands, alignment), in the order of the rows
PARTS = {
    "I  Latent variables": ("#56B4E9", (-WIDTH / 2, 0.62), "left"),
    "II  State-space models": ("#009E73", (3 * COLUMN + WIDTH / 2, -ROW + 0.62), "right"),
    "III  Dynamics in latent space": ("#E69F00", (-WIDTH / 2, -2 * ROW - 0.64), "left"),
    "IV  Judging and using them": ("#CC79A7", (3 * COLUMN - WIDTH / 2 - 0.2, -3 * ROW), "right"),
}
# chapter: (part, column, what stands in its box)
CHAPTERS = {
    1: (0, 0, "Latent variables\nand the ELBO"),
    2: (0, 1, "Rate and\ndistortion"),
    3: (1, 1, "State-space\nmodels"),
    4: (1, 2, "Filtering and\nsmoothing"),
    5: (1, 3, "EM and\nthe ELBO"),
    6: (2, 0, "The sequential\nELBO"),
    7: (2, 1, "A high ELBO\nis not enough"),
    8: (2, 2, "Balancing\nthe ELBO"),
    9: (2, 3, "The extended\nKalman VAE"),
    10: (3, 3, "Which model,\nwhich loss?"),
}
# (a chapter, one that needs it): how far from the middle of its box the arrow starts and ends
NEEDS = {
    (1, 2): 0,
    (3, 4): 0,
    (4, 5): 0,
    (6, 7): 0,
    (7, 8): 0,
    (8, 9): 0,
    (1, 6): 0,
    (3, 6): 0.5,
    (2, 8): 0.75,
    (4, 7): 0.5,
    (4, 9): 0.5,
    (9, 10): 0,
}


def place(chapter: int) -> tuple[float, float]:
    """Centre of a chapter's box."""
    part, column, _ = CHAPTERS[chapter]
    return COLUMN * column, -ROW * part


def draw(marked: int | None = None) -> Figure:
    """All chapters in the rows of their parts, an arrow from each to those that need it; with
    `marked`, the other parts are pale.
    """
    figure = Figure(figsize=(7.4, 5.3))
    axes = figure.subplots()
    for k, (name, (_, (x, y), alignment)) in enumerate(PARTS.items()):
        axes.text(
            x,
            y,
            name,
            ha=alignment,
            va="center",
            color="#333333",
            fontsize=12,
            weight="bold" if marked in (None, k) else "normal",
        )
    for chapter, (part, _, text) in CHAPTERS.items():
        (x, y), colour = place(chapter), list(PARTS.values())[part][0]
        fill = f"{colour}55" if marked in (None, part) else "#FFFFFF"
        style = {
            "boxstyle": "round,pad=0,rounding_size=0.1",
            "facecolor": fill,
            "edgecolor": colour,
            "linewidth": 1.6,
        }
        axes.add_patch(FancyBboxPatch((x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, **style))
        axes.text(
            x - WIDTH / 2 + 0.22,
            y,
            str(chapter),
            ha="center",
            va="center",
            fontsize=14,
            weight="bold",
            color="#222222",
        )
        axes.text(x + 0.2, y, text, ha="center", va="center", fontsize=9.5, color="#222222")
    for (tail, head), aside in NEEDS.items():
        (x0, y0), (x1, y1) = place(tail), place(head)
        if y0 == y1:
            start, end = (x0 + WIDTH / 2, y0), (x1 - WIDTH / 2, y1)
        else:
            aside = aside if x1 > x0 else -aside
            start, end = (x0 + aside, y0 - HEIGHT / 2), (x1 - aside, y1 + HEIGHT / 2)
        axes.annotate(
            "",
            end,
            start,
            arrowprops={
                "arrowstyle": "-|>",
                "color": "#555555",
                "lw": 1.2,
                "shrinkA": 1,
                "shrinkB": 1,
            },
        )
    axes.set(xlim=(-1.0, 3 * COLUMN + 1.0), ylim=(-3 * ROW - 0.55, 0.85), aspect="equal")
    axes.axis("off")
    figure.subplots_adjust(0, 0, 1, 1)
    return figure


def made() -> dict[str, Picture]:
    """The map, and the map of each part."""
    shown = [PARTS, list(CHAPTERS.items()), list(NEEDS.items())]
    maps = {"map": None, **{f"map_part{k + 1}": k for k in range(len(PARTS))}}
    return {
        f"{MADE}/{name}.svg": Picture([marked, *shown], partial(draw, marked))
        for name, marked in maps.items()
    }


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    return generated.command(made, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
