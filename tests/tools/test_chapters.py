"""What the notebooks say of themselves is complete, and everything that names a chapter follows."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml

from tools import ROOT, chapters, generated
from tools.chapters import PARTS
from tools.notebooks import execute
from tools.pages import chapters as pages
from tools.pages import map as the_map
from tools.pages import readme

FOUND = chapters.chapters()
COMMANDS = {"pages": pages, "readme": readme, "map": the_map}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """The chapters and all that is made from them, somewhere else."""
    names = {module.__name__ for module in COMMANDS.values()}
    made = [path for path, name in generated.MADE_BY.items() if name in names]
    for path in [*made, generated.INPUTS]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    shutil.copytree(ROOT / "chapters", tmp_path / "chapters", ignore=lambda *_: ["text"])
    monkeypatch.setattr(chapters, "FOLDER", tmp_path / "chapters")
    for module in (generated, pages, readme):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path


def change(path: Path, **book: object) -> None:
    """Say something else in a notebook's metadata; None takes it out."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    said = notebook["metadata"]["book"] | book
    kept = {key: value for key, value in said.items() if value is not None}
    notebook["metadata"]["book"] = kept
    path.write_text(json.dumps(notebook))


def add(root: Path) -> None:
    """An eleventh chapter."""
    cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# A new one\n\nText."}
    book = {"part": 4, "needs": [8, 10], "minutes": 45, "short": "A new one"}
    book |= {"gives": "something new", "read_if": "you are curious"}
    notebook = {"cells": [cell], "metadata": {"book": book}, "nbformat": 4, "nbformat_minor": 5}
    (root / "chapters" / "11_a_new_one.ipynb").write_text(json.dumps(notebook))


# ---------------------------------------------------------------- what the notebooks say


def test_every_notebook_is_a_chapter_and_every_part_has_one():
    names = sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))
    assert [chapter.file for chapter in FOUND] == names
    assert {chapter.part for chapter in FOUND} == set(range(1, len(PARTS) + 1))
    for chapter in FOUND:
        assert chapter.file.startswith(f"{chapter.number:02}_")
        assert all(1 <= need < chapter.number for need in chapter.needs)
        assert chapter.minutes > 0 and chapter.gives and chapter.read_if
        lines = the_map.wrapped(chapter)
        assert len(lines) <= 3 and max(map(len, lines)) <= the_map.LETTERS, "too long for its box"


@pytest.mark.parametrize(
    "book, message",
    [
        ({"minutes": None}, "must hold, under"),
        ({"colour": "red"}, "must hold, under"),
        ({"part": 5}, "part must be one of 2 to 4"),
        ({"part": 1}, "part must be one of 2 to 4"),
        ({"needs": [4]}, "needs must be numbers of earlier chapters; got 4"),
        ({"needs": [0]}, "needs must be numbers of earlier chapters; got 0"),
        ({"minutes": 0}, "minutes must be from 1 to 999; got 0"),
    ],
)
def test_what_cannot_be_is_refused_with_the_name_of_the_notebook(copy, book, message, capsys):
    change(copy / "chapters" / "04_filtering_and_smoothing.ipynb", **book)
    for module in COMMANDS.values():
        assert module.main(["--check"]) == 1
        error = capsys.readouterr().err
        assert "04_filtering_and_smoothing" in error and message in error


def test_a_number_that_is_missing_is_refused(copy):
    (copy / "chapters" / "04_filtering_and_smoothing.ipynb").unlink()
    with pytest.raises(ValueError, match="numbered 1, 2, ...; there are: 01_latent_variables, 02"):
        chapters.chapters()


def test_what_a_notebook_says_survives_a_run_and_the_way_through_text():
    path = ROOT / "chapters" / f"{FOUND[3].file}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    said = dict(notebook.metadata["book"])
    notebook.metadata["widgets"] = {"state": {}}
    execute.normalise(notebook)
    assert set(notebook.metadata) == {"book", "kernelspec", "language_info"}
    text = execute.as_text(notebook)
    assert yaml.safe_load(text.split("---\n")[1])["book"] == said == notebook.metadata["book"]
    assert "notebook_metadata_filter" not in text
    back = jupytext.reads(text, fmt="md:myst")
    back.metadata["book"] = dict(reversed(said.items()))  # as another hand may have written it
    assert execute.as_text(back) == text


# ---------------------------------------------------------------- what is made from it


def test_the_pages_name_each_chapter_where_they_should():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert config["parse"]["myst_substitutions"] == {
        f"ch{c.number}": f"[chapter {c.number}](../chapters/{c.file}.ipynb)" for c in FOUND
    }
    for number, part in enumerate(PARTS, 1):
        inside = [chapter for chapter in FOUND if chapter.part == number]
        entry = next(e for e in toc if e["caption"] == f"{part.numeral}. {part.name}")
        files = [part.page, *(f"chapters/{chapter.file}" for chapter in inside)]
        assert [chapter["file"] for chapter in entry["chapters"]] == files
        page = (ROOT / f"{part.page}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# Part {part.numeral}: {part.name}\n")
        assert f"{{include}} made/part{number}.md" in page
        table = (ROOT / generated.MADE / f"part{number}.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| \{\{ ch(\d+) \}\}: (.+?) \((\d+) minutes\) \|", table, re.MULTILINE)
        assert rows == [(str(c.number), c.title, str(c.minutes)) for c in inside]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_new_chapter_needs_nothing_but_its_notebook(copy, name, capsys):
    module = COMMANDS[name]
    assert module.main(["--check"]) == 0
    add(copy)
    assert module.main(["--check"]) == 1
    assert "is not current" in capsys.readouterr().err
    assert module.main([]) == 0 and module.main(["--check"]) == 0
    if name == "pages":
        parts = yaml.safe_load((copy / "_toc.yml").read_text(encoding="utf-8"))["parts"]
        pages_of_last = next(e["chapters"] for e in parts if e["caption"].startswith("IV. "))
        assert pages_of_last[-1] == {"file": "chapters/11_a_new_one"}
        assert "from 10 to 11" in (copy / generated.MADE / "map.md").read_text(encoding="utf-8")
    if name == "readme":
        assert "| 11 A new one | " in (copy / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "book, stale",
    [
        ({"minutes": 1}, {"pages"}),
        ({"short": "Another"}, {"pages", "map"}),
        ({"needs": [1]}, {"pages", "map"}),
    ],
)
def test_a_change_is_noticed_where_it_shows(copy, book, stale):
    change(copy / "chapters" / "04_filtering_and_smoothing.ipynb", **book)
    assert {name for name, module in COMMANDS.items() if module.main(["--check"])} == stale


def test_numbers_as_words():
    assert [pages.listed(numbers) for numbers in ([], [1], [1, 2], [1, 2, 3])] == [
        "",
        "1",
        "1 and 2",
        "1, 2 and 3",
    ]


# ---------------------------------------------------------------- the map


TEN = FOUND[:10]
TWELVE = [*TEN, replace(TEN[-1], number=11, needs=(9,)), replace(TEN[-1], number=12, needs=(8, 10))]


@pytest.mark.parametrize("found", [TEN, TWELVE], ids=["ten", "twelve"])
def test_no_arrow_of_the_map_crosses_a_box(found):
    boxes = the_map.place(found)
    assert set(boxes) == {chapter.number for chapter in found}
    placed = list(boxes.values())
    assert not [a for i, a in enumerate(placed) for b in placed[:i] if a.overlaps(b)]
    for chapter in found:
        assert boxes[chapter.number].y == -the_map.ROW * (chapter.part - 1)
    for drawn in the_map.arrows(found, boxes):
        assert drawn[0, 1] >= drawn[2, 1]  # none leads up
        assert not any(box.crossings(the_map.along(drawn)) for box in placed)


def test_no_arrow_of_the_map_crosses_a_title():
    boxes = the_map.place(TEN)
    titles = the_map.place_titles(TEN, boxes)
    for title in titles:
        assert not any(title.overlaps(box) for box in boxes.values())
        assert not any(
            title.crossings(the_map.along(drawn)) for drawn in the_map.arrows(TEN, boxes)
        )


def test_crossings_are_counted():
    box = the_map.Box(0.0, 0.0)
    through = the_map.along(the_map.arrow(the_map.Box(0.0, 3.0), the_map.Box(0.0, -3.0)))
    beside = through + (1.0, 0.0)
    assert box.crossings(through) > 0 and box.crossings(beside) == 0
