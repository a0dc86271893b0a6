"""Deep state-space models, by hand and on a pendulum: the package of the book."""

__version__ = "0.1.0"
