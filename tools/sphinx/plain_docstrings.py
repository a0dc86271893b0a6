"""Let docstrings be read as they are written: plain text with Unicode maths.

Sphinx reads a docstring as reStructuredText, where |φ̇|, a lone * and a trailing _ are markup. Ours
mean themselves, except in ``literals``, *emphasis* and **strong**. This extension escapes the rest.

A line `Equations: kf-predict, kf-update` becomes the numbers of these equations, each a link (see
tools/pages/equations.py).
"""

import re

_KEPT = re.compile(
    r"(``[^`]+``|:[\w:]+:`[^`]+`|`[^`]+`_{0,2}"
    r"|\*\*(?! )[^*]+(?<! )\*\*|(?<!\w)\*(?! )[^*]+(?<! )\*(?!\w))"
)
_MARKUP = re.compile(r"\*|\||(?<=[^\W_])_(?=[\s.,;:)\]]|$)")

_EQUATIONS = re.compile(r"^(\s*Equations: )([\w-]+(?:, [\w-]+)*)$")


def link_equations(line: str) -> str:
    """A line that names equations, with links; any other line as it is."""
    return _EQUATIONS.sub(
        lambda m: m[1] + ", ".join(f":eq:`{label}`" for label in m[2].split(", ")), line
    )


def escape(line: str) -> str:
    """One line with everything escaped that would be markup by accident."""
    parts = _KEPT.split(line)
    return "".join(
        part if i % 2 else _MARKUP.sub(lambda m: "\\" + m[0], part) for i, part in enumerate(parts)
    )


def _process(app, what, name, obj, options, lines):
    literal_indent = None  # inside a literal block that a line ending in :: has opened
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if literal_indent is not None and line.strip() and indent <= literal_indent:
            literal_indent = None
        if literal_indent is None and not line.lstrip().startswith(
            (">>>", "...", ":param", ":type", "* ")
        ):
            lines[i] = escape(link_equations(line))
            if line.rstrip().endswith("::"):
                literal_indent = indent


def setup(app):
    app.connect(
        "autodoc-process-docstring", _process, priority=100
    )  # before napoleon, which adds markup on purpose
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
