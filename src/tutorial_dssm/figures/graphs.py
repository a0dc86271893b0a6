"""The graphical models of the book, drawn by daft: a deep state-space model, the extended Kalman
VAE.
"""

from collections.abc import Sequence
from typing import NamedTuple

import daft
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from .style import DPI, RED


class Node(NamedTuple):
    """A circle of the graph; one without a text is a place where arrows begin or end."""

    name: str
    text: str
    x: float
    y: float
    observed: bool = False  # shaded


Edge = tuple[str, str]  # names of the nodes: from, to

_STEPS = (("a", "t-1", 0.0), ("b", "t", 1.6), ("c", "t+1", 3.2))


def _draw(nodes: Sequence[Node], edges: Sequence[Edge], dashed: Sequence[Edge]) -> Figure:
    """Nodes, arrows, and dashed arrows that are bent."""
    pgm = daft.PGM(grid_unit=2.0, node_unit=1.1, line_width=1.2, observed_style="shaded")
    for node in nodes:
        invisible = None if node.text else {"ec": "none", "fc": "none"}
        pgm.add_node(*node[:4], observed=node.observed, plot_params=invisible)
    for tail, head in edges:
        pgm.add_edge(tail, head)
    pgm.render(dpi=DPI)
    figure = pgm.figure
    centres = {node.name: pgm._ctx.convert(node.x, node.y) for node in nodes}
    arrow = {
        "arrowstyle": "-|>",
        "ls": (0, (4, 2)),
        "color": RED,
        "lw": 1.4,
        "shrinkA": 18,
        "shrinkB": 18,
        "connectionstyle": "arc3,rad=0.35",
    }
    for tail, head in dashed:
        figure.axes[0].annotate("", centres[head], centres[tail], arrowprops=arrow)
    # daft draws through pyplot; without this a notebook would show the figure twice
    plt.close(figure)
    return figure


def _chain(rows: Sequence[tuple[str, float]]) -> tuple[list[Node], list[Edge]]:
    """Three steps of u -> z -> …: a row of nodes at its height for each letter, from the controls
    at the top to the frames at the bottom, and the Markov chain of the states.
    """
    heights = dict(rows)
    nodes = [Node("start", "", -1.3, heights["z"]), Node("end", "", 4.5, heights["z"])]
    edges = [("start", "z_a"), ("z_c", "end"), ("u_c", "end")]
    for k, index, x in _STEPS:
        for letter, y in rows:
            text = f"${letter}_{{{index}}}$"
            nodes.append(Node(f"{letter}_{k}", text, x, y, observed=letter in "ux"))
        below = [letter for letter, _ in rows if letter != "u"]
        edges += [(f"{upper}_{k}", f"{lower}_{k}") for upper, lower in zip(below, below[1:])]
    for tail, head in (("a", "b"), ("b", "c")):
        edges += [(f"z_{tail}", f"z_{head}"), (f"u_{tail}", f"z_{head}")]
    return nodes, edges


def graphical_model_dssm(inference: bool = False) -> Figure:
    """A deep state-space model: controls u and states z make a Markov chain, each frame x_t depends
    on z_t. Shaded: observed.

    With `inference`, dashed arrows show the posterior of z_t, which needs the state before and the
    present and future frames.
    """
    nodes, edges = _chain([("u", 2.6), ("z", 1.3), ("x", 0.0)])
    dashed = [("x_b", "z_b"), ("x_c", "z_b")] if inference else []
    return _draw(nodes, edges, dashed)


def graphical_model_ekvae(inference: bool = False) -> Figure:
    """The extended Kalman VAE: states z, auxiliary variables a, frames x. With `inference`, dashed
    arrows show q(a_t | x_t), the learned part of it.
    """
    nodes, edges = _chain([("u", 3.6), ("z", 2.4), ("a", 1.2), ("x", 0.0)])
    dashed = [(f"x_{k}", f"a_{k}") for k, _, _ in _STEPS] if inference else []
    return _draw(nodes, edges, dashed)
