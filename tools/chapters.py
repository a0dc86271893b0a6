"""The chapters, as their notebooks describe themselves, and the parts of the book.

The metadata of a notebook holds, under "book":

    part       the number of the part that the chapter belongs to, from 1
    needs      the numbers of the chapters that it builds on
    minutes    about how long it takes to read
    short      its title in a box of the map, which holds three lines of 16 characters
    gives      what you take away; its line in the table of the part's page
    read_if    "read it first if ...", in the same table

Its number is at the front of its file's name, its title is its first heading. All else that names
a chapter is made from this: tools.pages.chapters, tools.pages.map, tools.pages.readme.
"""

import re
from dataclasses import dataclass, fields
from pathlib import Path

from tools import ROOT
from tutorial_dssm import files

FOLDER = ROOT / "chapters"


@dataclass(frozen=True)
class Part:
    """A part of the book."""

    numeral: str
    name: str
    page: str  # the page that opens it, by its path from the root without the ending


PARTS = (
    Part("I", "Latent variables", "book/part1_latent_variables"),
    Part("II", "State-space models", "book/part2_state_space_models"),
    Part("III", "Dynamics in latent space", "book/part3_dynamics_in_latent_space"),
    Part("IV", "Judging and using them", "book/part4_judging_and_using"),
)


@dataclass(frozen=True)
class Description:
    """What a notebook says under "book"."""

    part: int
    needs: tuple[int, ...]
    minutes: int
    short: str
    gives: str
    read_if: str


@dataclass(frozen=True)
class Chapter(Description):
    """A chapter of the book."""

    number: int
    file: str  # the notebook's name, without the ending
    title: str


def read(path: Path) -> Chapter:
    """The chapter of a notebook. ValueError, with the file, where it does not say all of it."""
    number = re.match(r"\d\d(?=_)", path.name)
    if number is None:
        raise ValueError(f"{path.name}: the name of a chapter begins with two digits and _")
    notebook = files.read_json(path)
    texts = ("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown")
    title = re.match(r"# (.+)", next(texts, ""))
    if title is None:
        raise ValueError(f"{path.name}: the first cell must begin with the title, '# ...'")
    book = notebook["metadata"].get("book", {})
    keys = {field.name for field in fields(Description)}
    if set(book) != keys:
        raise ValueError(
            f'{path.name}: its metadata must hold, under "book", {", ".join(sorted(keys))}; '
            f"got {', '.join(sorted(book)) or 'nothing'}"
        )
    book = book | {"needs": tuple(book["needs"])}
    return Chapter(**book, number=int(number[0]), file=path.stem, title=title[1])


def chapters() -> list[Chapter]:
    """All chapters, by number. ValueError, in words, where a notebook says what cannot be."""
    found = [read(path) for path in sorted(FOLDER.glob("*.ipynb"))]
    if [chapter.number for chapter in found] != list(range(1, len(found) + 1)):
        names = ", ".join(chapter.file for chapter in found)
        raise ValueError(f"the chapters must be numbered 1, 2, ...; there are: {names}")
    part = 1
    for chapter in found:
        if chapter.part not in range(part, len(PARTS) + 1):
            raise ValueError(
                f"{chapter.file}: part must be one of {part} to {len(PARTS)}, in the order of the "
                f"chapters; got {chapter.part}"
            )
        if not all(need in range(1, chapter.number) for need in chapter.needs):
            raise ValueError(
                f"{chapter.file}: needs must be numbers of earlier chapters; "
                f"got {', '.join(map(str, chapter.needs))}"
            )
        if chapter.minutes not in range(1, 1000):
            raise ValueError(
                f"{chapter.file}: minutes must be from 1 to 999; got {chapter.minutes}"
            )
        part = chapter.part
    return found
