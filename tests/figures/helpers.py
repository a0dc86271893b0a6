"""Questions to a figure that many tests ask."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from tutorial_dssm.figures.style import player


def drawn(figure: Figure) -> Figure:
    """The figure after drawing it, so that whatever fails then fails here.

    A figure that pyplot does not know has a canvas that draws nothing; this one draws.
    """
    FigureCanvasAgg(figure).draw()
    return figure


def plots(figure: Figure) -> list:
    """Axes that are not colour bars."""
    return [axis for axis in figure.axes if not hasattr(axis, "_colorbar")]


def bars(figure: Figure) -> list:
    """Axes of colour bars."""
    return [axis for axis in figure.axes if hasattr(axis, "_colorbar")]


def labelled(axis) -> bool:
    """Both axes say what they show; a title may stand for the vertical one."""
    return bool(axis.get_xlabel() and (axis.get_ylabel() or axis.get_title()))


def curves(axis) -> dict[str, np.ndarray]:
    """name -> (x, y) [K, 2] of every line with that name."""
    return {line.get_label(): line.get_xydata() for line in axis.lines}


def clouds(axis) -> list[PathCollection]:
    """Scatter plots, in the order they were drawn."""
    return [c for c in axis.collections if isinstance(c, PathCollection)]


def points(cloud: PathCollection) -> np.ndarray:
    """The points of a scatter in two or three dimensions, [M, 2 or 3]."""
    if hasattr(cloud, "_offsets3d"):
        return np.column_stack(cloud._offsets3d)
    return np.asarray(cloud.get_offsets())


def legend(figure: Figure) -> list[str]:
    """Names in the legend outside the axes."""
    return [text.get_text() for text in figure.legends[0].get_texts()]


def plays(animation, pictures: int, most: int = 60_000) -> bool:
    """The player of an animation describes it, has all pictures, asks no other host, and is small:
    at most so many bytes a picture.
    """
    html = player(animation, "what it shows")
    body = html.split("<script")[0]
    assert 'alt="what it shows"' in html
    assert html.count("data:image/png") == pictures
    assert "http" not in body and "<link" not in html
    return len(html) < pictures * most
