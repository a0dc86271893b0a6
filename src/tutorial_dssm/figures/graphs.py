"""The graphical models of the book, drawn by daft: a deep state-space model, the extended Kalman
VAE.
"""

import daft
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from .style import DPI, RED


def _graphical_model(nodes, edges, dashed) -> Figure:
    """nodes (name, text, x, y, observed); edges and dashed (from, to), the second with dashed
    arrows.
    """
    pgm = daft.PGM(grid_unit=2.0, node_unit=1.1, line_width=1.2, observed_style="shaded")
    for name, text, x, y, observed in nodes:
        pgm.add_node(
            name,
            text,
            x,
            y,
            observed=observed,
            plot_params=None if text else {"ec": "none", "fc": "none"},
        )
    for tail, head in edges:
        pgm.add_edge(tail, head)
    pgm.render(dpi=DPI)
    figure, centres = pgm.figure, {name: pgm._ctx.convert(x, y) for name, _, x, y, _ in nodes}
    style = {
        "arrowstyle": "-|>",
        "ls": (0, (4, 2)),
        "color": RED,
        "lw": 1.4,
        "shrinkA": 18,
        "shrinkB": 18,
        "connectionstyle": "arc3,rad=0.35",
    }
    for tail, head in dashed:
        figure.axes[0].annotate("", centres[head], centres[tail], arrowprops=style)
    plt.close(
        figure
    )  # daft draws through pyplot; without this a notebook would show the figure twice
    return figure


_STEPS = (("a", "t-1", 0.0), ("b", "t", 1.6), ("c", "t+1", 3.2))


def graphical_model_dssm(inference: bool = False) -> Figure:
    """A deep state-space model: controls u and states z make a Markov chain, each frame x_t depends
    on z_t. Shaded: observed.

    With `inference`, dashed arrows show the posterior of z_t, which needs the state before and the
    present and future frames.
    """
    nodes = [
        ("start", "", -1.3, 1.3, False),
        ("end", "", 4.5, 1.3, False),
        ("u_end", "", 4.5, 2.6, False),
    ]
    edges, dashed = [("start", "z_a"), ("z_c", "end")], []
    for k, index, x in _STEPS:
        nodes += [
            (f"u_{k}", f"$u_{{{index}}}$", x, 2.6, True),
            (f"z_{k}", f"$z_{{{index}}}$", x, 1.3, False),
            (f"x_{k}", f"$x_{{{index}}}$", x, 0.0, True),
        ]
        edges.append((f"z_{k}", f"x_{k}"))
    for tail, head in (("a", "b"), ("b", "c")):
        edges += [(f"z_{tail}", f"z_{head}"), (f"u_{tail}", f"z_{head}")]
    edges.append(("u_c", "end"))
    if inference:
        dashed = [("x_b", "z_b"), ("x_c", "z_b")]
    return _graphical_model([n for n in nodes if n[0] != "u_end"], edges, dashed)


def graphical_model_ekvae(inference: bool = False) -> Figure:
    """The extended Kalman VAE: states z, auxiliary variables a, frames x. With `inference`, dashed
    arrows show q(a_t | x_t), the learned part of it.
    """
    nodes = [("start", "", -1.3, 2.4, False), ("end", "", 4.5, 2.4, False)]
    edges, dashed = [("start", "z_a"), ("z_c", "end")], []
    for k, index, x in _STEPS:
        nodes += [
            (f"u_{k}", f"$u_{{{index}}}$", x, 3.6, True),
            (f"z_{k}", f"$z_{{{index}}}$", x, 2.4, False),
            (f"a_{k}", f"$a_{{{index}}}$", x, 1.2, False),
            (f"x_{k}", f"$x_{{{index}}}$", x, 0.0, True),
        ]
        edges += [(f"z_{k}", f"a_{k}"), (f"a_{k}", f"x_{k}")]
    for tail, head in (("a", "b"), ("b", "c")):
        edges += [(f"z_{tail}", f"z_{head}"), (f"u_{tail}", f"z_{head}")]
    edges.append(("u_c", "end"))
    if inference:
        dashed = [(f"x_{k}", f"a_{k}") for k, _, _ in _STEPS]
    return _graphical_model(nodes, edges, dashed)
