"""The book's pages and notebooks, as they stand in the repository. The built site: test_html.py,
test_browser.py.
"""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pages import PAGES, source
from tools import ROOT
from tools.notebooks import execute
from tools.pages import your_run
from tools.sphinx import your_run_stub
from tutorial_dssm import experiments
from tutorial_dssm.experiments import measures

NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def markdown(path: Path) -> str:
    """The text of a page or the Markdown cells of a notebook, without code blocks."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n\n".join(
            "".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown"
        )
    return re.sub(r"^(`{3,})(?!\{).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)


# ---------------------------------------------------------------- pages and notebooks


def test_table_of_contents_and_chapters_agree():
    assert len(set(PAGES)) == len(PAGES)
    for page in PAGES:
        assert source(page).exists()
    chapters = [page for page in PAGES if page.startswith("chapters/")]
    assert chapters == [f"chapters/{path.stem}" for path in NOTEBOOKS], "run `make pages`"


def test_every_module_is_on_the_package_page():
    package = ROOT / "src" / "tutorial_dssm"
    listed = re.findall(r"automodule:: ([\w.]+)", (ROOT / "book" / "made" / "api.md").read_text())
    paths = [path for path in package.rglob("*.py") if not path.name.startswith("_")]
    modules = {".".join(path.relative_to(package.parent).with_suffix("").parts) for path in paths}
    assert sorted(listed) == sorted(modules)


@pytest.mark.parametrize("page", [*PAGES, "README"])
def test_images_in_the_text_have_alternative_texts(page):
    text = markdown(source(page))
    bare = re.findall(r"!\[\s*\]\([^)]*\)", text)
    for block in re.findall(
        r"^(?:`{3,}|:{3,})\{(?:figure|image)\}.*?(?=^(?:`{3,}|:{3,}))",
        text,
        re.MULTILINE | re.DOTALL,
    ):
        if not re.search(r"^:alt: \S", block, re.MULTILINE):
            bare.append(block)
    bare += [tag for tag in re.findall(r"<img\b[^>]*>", text) if not re.search(r'\balt="[^"]', tag)]
    assert not bare


@by_name
def test_notebook_was_run_from_top_to_bottom_by_make_notebooks(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert set(notebook["metadata"]) == {"book", "kernelspec", "language_info"}, (
        "run `make notebooks`"
    )
    counts = []
    for cell in notebook["cells"]:
        assert "execution" not in cell["metadata"], "timestamps: run `make notebooks`"
        if cell["cell_type"] != "code":
            continue
        if "".join(cell["source"]).strip():
            counts.append(cell["execution_count"])
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert execute.WIDGET not in output.get("data", {})
    assert counts == list(range(1, len(counts) + 1)), (
        "not executed top to bottom: run `make notebooks`"
    )


@by_name
def test_notebook_images_have_alternative_texts(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if any(
            kind.startswith("image/")
            for output in cell.get("outputs", [])
            for kind in output.get("data", {})
        ):
            alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) >= 20, "".join(cell["source"])


@by_name
def test_notebook_and_its_text_hold_the_same_cells(path):
    text = ROOT / "chapters" / "text" / f"{path.stem}.md"
    assert text.exists(), "run `make notebooks`"
    import nbformat

    assert text.read_text(encoding="utf-8") == execute.as_text(nbformat.read(path, as_version=4))


@by_name
def test_notebook_needs_no_macros_of_the_site(path):
    text = markdown(path)
    assert "\\newcommand" not in text and "\\def\\" not in text


# ---------------------------------------------------------------- the page "Your run"


def test_your_run_puts_the_numbers_beside_the_books():
    keys = [m.key for m in measures.MEASURES]
    rows = [
        {"run": "dks-elbo", "seed": seed, **dict.fromkeys(keys, value)}
        for seed, value in enumerate((0.1, 0.3))
    ]
    rows.append({"run": "ekvae-constrained", "seed": 0, **dict.fromkeys(keys, 0.999)})
    numbers = {
        "run": "ekvae-constrained",
        "seed": 0,
        "steps": 10,
        "r2_velocity": 0.9876,
        "rate": float("nan"),
    }
    page = your_run.page(numbers, 90.0, rows, {"latent.png": "What it shows"})
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert len(lines) == 5 and all(line.count("|") == lines[0].count("|") for line in lines)
    assert "**0.988**" in lines[2] and "**–**" in lines[2]
    assert "ekvae-constrained" in lines[3] and "0.999" in lines[3], (
        "the book's rows of the same run come first"
    )
    assert "0.200" in lines[4] and "mean of 2 seeds" in lines[4]
    assert "![What it shows](made/your_run/latent.png)" in page
    assert "(seed 0, 10 steps, 1.5 minutes of training)" in page


def test_your_run_of_a_trained_folder(tmp_path, monkeypatch):
    """What `make book` does after training, on a run of a few steps; the page includes what is
    written, and git ignores it.
    """
    run = experiments.get("ekvae-constrained", steps=4)
    run = replace(run, training=replace(run.training, log_every=1, snapshot_every=2))
    state = experiments.run(run, tmp_path / "run", "cpu", progress=False)
    monkeypatch.setattr(your_run, "ROOT", tmp_path)
    assert your_run.main([str(tmp_path / "run")]) == 0
    folder = tmp_path / your_run.FOLDER
    text = (folder / your_run.PAGE).read_text(encoding="utf-8")
    assert f"seed 0, 4 steps, {state.seconds / 60:.1f} minutes" in text
    figures = re.findall(r"!\[[^\]]{20,}\]\((\S+)\)", text)
    assert len(figures) >= 5 and all(
        (tmp_path / "book" / figure).stat().st_size > 1000 for figure in figures
    )
    assert (
        f"{{include}} {Path(your_run.FOLDER, your_run.PAGE).relative_to('book').as_posix()}"
        in source("book/your_run").read_text()
    )
    assert f"{your_run.FOLDER}/{your_run.PAGE}" == your_run_stub.PAGE
    ignored = subprocess.run(["git", "check-ignore", "-q", your_run_stub.PAGE], cwd=ROOT)
    assert ignored.returncode == 0
    assert your_run.main([str(tmp_path / "nothing")]) == 1
