"""The table of equations and the cheat sheet: `python -m tools.pages.equations [--check]`.

The table holds every numbered equation, the function that computes it and the test that checks it.
The cheat sheet holds the formulas that cheat_sheet.yml, beside this file, names.

A numbered equation is one with a label: `$$ (label)` or a `{math}` directive with `:label:`. A
function or a test says which ones it computes or checks in a line of its docstring:

    Equations: kf-predict, kf-update

An equation that no docstring names is left to its chapter: a code cell must follow it before the
next section begins.
"""

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from tools import ROOT, generated
from tools.generated import MADE

BOOK = ROOT / "book"
CHOSEN = Path(__file__).with_name("cheat_sheet.yml")
TABLE, SHEET = f"{MADE}/equations.md", f"{MADE}/cheat_sheet.md"
CELL = "the cell in the chapter"

_LABEL = re.compile(r"\$\$\s*\(([^)\s]+)\)\s*$")
_DIRECTIVE_LABEL = re.compile(r"\s*:label:\s*(\S+)")
_FENCE = re.compile(r"\s*(`{3,}|:{3,})(?:\{([\w-]+)\})?")
_LINE = re.compile(r"^[ \t]*Equations:(.*)$", re.MULTILINE)


@dataclass
class Equation:
    """A numbered equation of a page."""

    label: str
    section: str  # the heading it stands under
    tex: str
    cell: bool = False  # whether a code cell follows before the next section


@dataclass(frozen=True)
class Mention:
    """An object whose docstring names an equation."""

    label: str
    name: str  # tutorial_dssm.probability.kalman.smooth, or test_kalman.py::test_...
    role: str  # Sphinx's role: func, meth or class


def read_page(text: str) -> tuple[str, list[Equation]]:
    """The title of a page and its numbered equations, in order; `text` is MyST Markdown."""
    title, heading, waiting, found, tex = "", "", [], [], []
    fence = kind = ""  # of the block that the line stands in: math, code-cell, code, or $$

    def add(label: str, lines: list[str]) -> None:
        waiting.append(Equation(label, heading, "\n".join(lines).strip()))
        found.append(waiting[-1])

    for line in text.splitlines():
        opened = _FENCE.match(line)
        if kind == "$$" and "$$" in line:
            if label := _LABEL.search(line):
                add(label[1], tex)
            kind = ""
        elif kind == "math" and line.strip() == fence:
            if label := _DIRECTIVE_LABEL.match(tex[0]) if tex else None:
                add(label[1], tex[1:])
            kind = ""
        elif kind in ("$$", "math"):
            tex.append(line)
        elif kind:
            kind = "" if line.strip() == fence else kind
        elif line.strip() == "$$":
            kind, tex = "$$", []
        elif label := _LABEL.search(line):
            add(label[1], [line[: label.start()].strip().removeprefix("$$")])
        elif opened and (
            opened[2] in ("math", "code-cell")
            or not opened[2]
            and opened[1][0] == "`"
            and "{" not in line
        ):
            fence, kind, tex = opened[1], opened[2] or "code", []
            if kind == "code-cell":
                for equation in waiting:
                    equation.cell = True
                waiting = []
        elif match := re.match(r"(#+) (.*)", line):
            title, heading = title or match[2], match[2]
            if len(match[1]) <= 2:
                waiting = []
    return title, found


def labels_in(docstring: str) -> list[str]:
    """The labels of the lines `Equations: ...` of a docstring. ValueError for a line that is not a
    list of labels.
    """
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
        module = ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        found += mentions(ast.parse(path.read_text(encoding="utf-8")).body, f"{module}.")
    return found


def tests() -> list[Mention]:
    """Every equation that a docstring of a test names."""
    folder, found = ROOT / "tests", []
    for path in sorted(folder.rglob("test_*.py")):
        prefix = f"{path.relative_to(folder).as_posix()}::"
        found += mentions(ast.parse(path.read_text(encoding="utf-8")).body, prefix)
    return found


def pages() -> dict[str, tuple[str, list[Equation]]]:
    """Address, title and equations of the pages that have any: hand-written ones of book/, then the
    chapters.
    """
    found = {}
    for path in [*sorted(BOOK.glob("*.md")), *sorted((ROOT / "chapters" / "text").glob("*.md"))]:
        title, equations = read_page(path.read_text(encoding="utf-8"))
        if equations:
            found[path.name if path.parent == BOOK else f"../chapters/{path.stem}.ipynb"] = (
                title,
                equations,
            )
    return found


def chosen() -> dict[str, dict[str, str]]:
    """The headings of the cheat sheet, each with its labels and what they are called."""
    return yaml.safe_load(CHOSEN.read_text(encoding="utf-8"))


def problems() -> list[str]:
    """What keeps the table from being complete: labels used twice, unknown ones, equations that
    nothing computes or checks.
    """
    every = [equation for _, equations in pages().values() for equation in equations]
    known = {equation.label for equation in every}
    computed, checked = ({m.label for m in found} for found in (functions(), tests()))
    wrong = [
        f"{label}: two equations"
        for label in sorted(known)
        if sum(e.label == label for e in every) > 1
    ]
    wrong += [
        f"{m.label}: no such equation, named by {m.name}"
        for m in [*functions(), *tests()]
        if m.label not in known
    ]
    wrong += [
        f"{e.label}: no function and no cell computes it"
        for e in every
        if not e.cell and e.label not in computed
    ]
    wrong += [
        f"{e.label}: no test and no cell checks it"
        for e in every
        if not e.cell and e.label not in checked
    ]
    wrong += [
        f"{label}: no such equation, named by cheat_sheet.yml"
        for names in chosen().values()
        for label in names
        if label not in known
    ]
    return wrong


def _links(label: str, found: list[Mention]) -> list[str]:
    return [
        f"{{py:{m.role}}}`{m.name.removeprefix('tutorial_dssm.')} <{m.name}>`"
        for m in found
        if m.label == label
    ]


def _tests(label: str, found: list[Mention]) -> list[str]:
    return [f"`{m.name}`" for m in found if m.label == label]


def equations_table() -> str:
    """What book/equations.md includes."""
    by_function, by_test = functions(), tests()
    every = [equation.label for _, equations in pages().values() for equation in equations]
    computed, checked = ({m.label for m in found} for found in (by_function, by_test))
    parts = [
        f"The book has {len(every)} numbered equations. "
        f"For {len(computed.intersection(every))} of them the package has a function, "
        f"for {len(checked.intersection(every))} a test. The others are computed and checked in "
        "their chapter, by the cell that follows: click the number.",
    ]
    for address, (title, equations) in pages().items():
        number = re.match(r"\.\./chapters/0*(\d+)_", address)
        rows, section = [], None
        for e in equations:
            if e.section != section:
                section = e.section
                rows.append(f"| | **{section.replace('|', '&#124;')}** | |")
            computed_by, checked_by = (
                "<br>".join(names) or CELL
                for names in (_links(e.label, by_function), _tests(e.label, by_test))
            )
            rows.append(f"| {{eq}}`{e.label}` | {computed_by} | {checked_by} |")
        parts += [
            f"## {f'Chapter {number[1]}: ' if number else ''}{title}",
            f"From [this page]({address}).",
            "\n".join(
                [
                    ":::{table}",
                    ":class: equations",
                    "| | computed by | checked by |",
                    "|---|---|---|",
                    *rows,
                    ":::",
                ]
            ),
        ]
    return "\n\n".join(parts) + "\n"


def cheat_sheet() -> str:
    """What book/cheat_sheet.md includes."""
    by_function = functions()
    tex = {
        equation.label: equation.tex for _, equations in pages().values() for equation in equations
    }
    parts = []
    for heading, names in chosen().items():
        parts.append(f"## {heading}")
        for label, name in names.items():
            where = ", ".join([f"{{eq}}`{label}`", *_links(label, by_function)])
            parts += [f"**{name}.** {where}", f"$$\n{tex[label]}\n$$"]
    return "\n\n".join(parts) + "\n"


def made() -> dict[str, str]:
    """Both includes. ValueError, with all problems, where the table is not complete."""
    if wrong := problems():
        raise ValueError("the table of equations is not complete:\n" + "\n".join(wrong))
    return {
        TABLE: generated.note(TABLE) + equations_table(),
        SHEET: generated.note(SHEET) + cheat_sheet(),
    }


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    return generated.command(made, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
