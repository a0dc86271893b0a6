"""Make the table of equations, book/equations.md: every numbered equation, the function that computes it, the test that checks it.

    python book/make_equations.py            write the page
    python book/make_equations.py --check    write nothing; fail where the page differs from what chapters and docstrings say

A numbered equation is one with a label: `$$ (label)` or a `{math}` directive with `:label:`. A function or a test says which ones it
computes or checks in a line of its docstring:

    Equations: kf-predict, kf-update

An equation that no docstring names is left to its chapter: a code cell must follow it before the next section begins.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "book" / "equations.md"
CELL = "the cell in the chapter"

_LABEL = re.compile(r"\$\$\s*\(([^)\s]+)\)\s*$")
_DIRECTIVE_LABEL = re.compile(r"\s*:label:\s*(\S+)")
_FENCE = re.compile(r"\s*(`{3,}|:{3,})\{?([\w-]*)")
_LINE = re.compile(r"^[ \t]*Equations:(.*)$", re.MULTILINE)


@dataclass
class Equation:
    """A numbered equation of a page."""

    label: str
    section: str  # the heading it stands under
    cell: bool = False  # whether a code cell follows before the next section


@dataclass(frozen=True)
class Mention:
    """An object whose docstring names an equation."""

    label: str
    name: str  # tutorial_dssm.kalman.smooth, or test_kalman.py::test_...
    role: str  # Sphinx's role: func, meth or class


def read_page(text: str) -> tuple[str, list[Equation]]:
    """The title of a page and its numbered equations, in order; `text` is MyST Markdown."""
    title, heading, waiting, found = "", "", [], []
    fence = kind = ""
    for line in text.splitlines():
        match = _FENCE.match(line)
        if fence and match and line.strip() == fence:
            fence = kind = ""
        elif kind == "math":
            if match := _DIRECTIVE_LABEL.match(line):
                waiting.append(Equation(match[1], heading))
                found.append(waiting[-1])
        elif kind:
            continue  # code: its comments are no headings
        elif match and match[2] in ("math", "code-cell") or match and match[1].startswith("`") and "{" not in line:
            fence, kind = match[1], match[2] or "code"
            if kind == "code-cell":
                for equation in waiting:
                    equation.cell = True
                waiting = []
        elif match := re.match(r"(#+) (.*)", line):
            title = title or match[2]
            heading = match[2]
            if len(match[1]) <= 2:
                waiting = []
        elif match := _LABEL.search(line):
            waiting.append(Equation(match[1], heading))
            found.append(waiting[-1])
    return title, found


def labels_in(docstring: str) -> list[str]:
    """The labels of the lines `Equations: ...` of a docstring. ValueError for a line that is not a list of labels."""
    labels = []
    for match in _LINE.finditer(docstring):
        if not re.fullmatch(r" [\w-]+(, [\w-]+)*", match[1].rstrip()):
            raise ValueError(f"not a list of labels: {match[0].strip()!r}")
        labels += match[1].strip().split(", ")
    return labels


def mentions(body: list[ast.stmt], prefix: str, inside_class: bool = False) -> list[Mention]:
    """What the public functions, classes and methods of a module say, in order."""
    found = []
    for node in body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        name, is_class = f"{prefix}{node.name}", isinstance(node, ast.ClassDef)
        role = "class" if is_class else "meth" if inside_class else "func"
        found += [Mention(label, name, role) for label in labels_in(ast.get_docstring(node) or "")]
        if is_class:
            found += mentions(node.body, f"{name}.", True)
    return found


def functions() -> list[Mention]:
    """Every equation that a docstring of the package names."""
    source = ROOT / "src"
    found = []
    for path in sorted((source / "tutorial_dssm").rglob("*.py")):
        module = ".".join(path.relative_to(source).with_suffix("").parts)
        found += mentions(ast.parse(path.read_text(encoding="utf-8")).body, f"{module}.")
    return found


def tests() -> list[Mention]:
    """Every equation that a docstring of a test names."""
    paths = sorted((ROOT / "tests").glob("test_*.py"))
    return [found for path in paths for found in mentions(ast.parse(path.read_text(encoding="utf-8")).body, f"{path.name}::")]


def pages() -> dict[str, tuple[str, list[Equation]]]:
    """Address, title and equations of the pages that have any: hand-written ones of book/, then the chapters."""
    found = {}
    for path in [*sorted((ROOT / "book").glob("*.md")), *sorted((ROOT / "chapters" / "text").glob("*.md"))]:
        title, equations = read_page(path.read_text(encoding="utf-8"))
        if equations:
            found[path.name if path.parent.name == "book" else f"../chapters/{path.stem}.ipynb"] = (title, equations)
    return found


def problems() -> list[str]:
    """What keeps the table from being complete: labels used twice, unknown ones, equations that nothing computes or checks."""
    every = [equation for _, equations in pages().values() for equation in equations]
    known = {equation.label for equation in every}
    computed, checked = ({m.label for m in found} for found in (functions(), tests()))
    wrong = [f"{label}: two equations" for label in sorted(known) if sum(e.label == label for e in every) > 1]
    wrong += [f"{m.label}: no such equation, named by {m.name}" for m in [*functions(), *tests()] if m.label not in known]
    wrong += [f"{e.label}: no function and no cell computes it" for e in every if not e.cell and e.label not in computed]
    wrong += [f"{e.label}: no test and no cell checks it" for e in every if not e.cell and e.label not in checked]
    return wrong


def _plain(heading: str) -> str:
    return heading.replace("|", "\\|")


def _functions_cell(equation: Equation, found: list[Mention]) -> str:
    links = [f"{{py:{m.role}}}`{m.name.removeprefix('tutorial_dssm.')} <{m.name}>`" for m in found if m.label == equation.label]
    return "<br>".join(links) or CELL


def _tests_cell(equation: Equation, found: list[Mention]) -> str:
    return "<br>".join(f"`{m.name}`" for m in found if m.label == equation.label) or CELL


def page() -> str:
    """The text of book/equations.md."""
    by_function, by_test = functions(), tests()
    every = [equation for _, equations in pages().values() for equation in equations]
    computed, checked = ({m.label for m in found} for found in (by_function, by_test))
    parts = [
        "% Written by `python book/make_equations.py`. Do not edit.",
        "# Equations, functions, tests",
        f"The book has {len(every)} numbered equations. {sum(e.label in computed for e in every)} of them are computed by a function of the "
        f"package, {sum(e.label in checked for e in every)} are checked by a test of it. Every other is computed and checked in its own "
        "chapter, by the cell that follows it: click its number.",
        "`make test` runs all tests, and all cells again, and compares the outputs with those that you see here. To run one test, copy its name: "
        "`pytest tests/NAME`.",
        "The table is made from the labels of the equations and from the lines `Equations: …` in docstrings; a test fails where an entry is missing.",
    ]  # fmt: skip
    for address, (title, equations) in pages().items():
        number = re.match(r"\.\./chapters/0*(\d+)_", address)
        rows = [
            f"| {{eq}}`{e.label}` | {_plain(e.section)} | {_functions_cell(e, by_function)} | {_tests_cell(e, by_test)} |" for e in equations
        ]
        parts += [
            f"## {f'Chapter {number[1]}: ' if number else ''}{title}",
            f"[To the page]({address})",
            "\n".join([":::{table}", ":class: equations", "| | where | computed by | checked by |", "|---|---|---|---|", *rows, ":::"]),
        ]
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    if wrong := problems():
        print("\n".join(wrong), file=sys.stderr)
        return 1
    if "--check" not in arguments:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        print("book/equations.md is out of date: run `python book/make_equations.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
