"""The book as its readers meet it: commands, pages, notebooks, and the built site in a browser.

The browser tests open _build/html, so `make test` builds the site first. Without a Chromium they are skipped.
"""

import functools
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(entry["file"] for part in TOC["parts"] for entry in part["chapters"])]
NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def load(name: str):
    """A script of book/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "book" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def source(path: Path) -> Path:
    """The file of a page named in the table of contents."""
    return next(found for suffix in (".md", ".ipynb") if (found := ROOT / f"{path}{suffix}").exists())


def markdown(path: Path) -> str:
    """The text of a page or the Markdown cells of a notebook, without code blocks."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n\n".join("".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown")
    return re.sub(r"^(`{3,})(?!\{).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)


# ---------------------------------------------------------------- commands


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("target", ["", "help", "setup", "book", "site", "test", "test-retrain", "notebooks", "benchmarks", "clean"])
def test_make_knows_the_target(target):
    run = subprocess.run(["make", "-n", *target.split()], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_refuses_an_old_python_with_one_clear_line(tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    run = subprocess.run(["make", "setup", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0 and "older than Python 3.11" in run.stderr
    assert not (tmp_path / ".venv").exists()


def test_ci_calls_the_test_command_of_the_readme():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("exec make test")
    assert "make test" in (ROOT / "README.md").read_text() and "make book" in (ROOT / "README.md").read_text()


def test_requirements_are_exact_pins():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.\[\]-]+==[\w.]+", line) for line in lines), lines


# ---------------------------------------------------------------- pages and notebooks


def test_table_of_contents_and_chapters_agree():
    assert len(set(PAGES)) == len(PAGES)
    for page in PAGES:
        assert source(page).exists()
    assert {f"chapters/{path.stem}" for path in NOTEBOOKS} <= set(PAGES), "a chapter is missing in _toc.yml"


def test_every_module_is_on_the_package_page():
    package = ROOT / "src" / "tutorial_dssm"
    listed = re.findall(r"automodule:: ([\w.]+)", (ROOT / "book" / "api.md").read_text())
    paths = [path for path in package.rglob("*.py") if not path.name.startswith("_")]
    modules = {".".join(path.relative_to(package.parent).with_suffix("").parts) for path in paths}
    assert sorted(listed) == sorted(modules)


@pytest.mark.parametrize("page", [*PAGES, "README"])
def test_images_in_the_text_have_alternative_texts(page):
    text = markdown(source(page))
    bare = re.findall(r"!\[\s*\]\([^)]*\)", text)
    for block in re.findall(r"^(?:`{3,}|:{3,})\{(?:figure|image)\}.*?(?=^(?:`{3,}|:{3,}))", text, re.MULTILINE | re.DOTALL):
        if not re.search(r"^:alt: \S", block, re.MULTILINE):
            bare.append(block)
    bare += [tag for tag in re.findall(r"<img\b[^>]*>", text) if not re.search(r'\balt="[^"]', tag)]
    assert not bare


@by_name
def test_notebook_was_run_from_top_to_bottom_by_make_notebooks(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    execute = load("execute")
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}, "run `make notebooks`"
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
    assert counts == list(range(1, len(counts) + 1)), "not executed top to bottom: run `make notebooks`"


@by_name
def test_notebook_images_have_alternative_texts(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if any(kind.startswith("image/") for output in cell.get("outputs", []) for kind in output.get("data", {})):
            alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) >= 20, "".join(cell["source"])


@by_name
def test_notebook_and_its_text_hold_the_same_cells(path):
    execute = load("execute")
    text = ROOT / "chapters" / "text" / f"{path.stem}.md"
    assert text.exists(), "run `make notebooks`"
    import nbformat

    assert text.read_text(encoding="utf-8") == execute.as_text(nbformat.read(path, as_version=4))


@by_name
def test_notebook_needs_no_macros_of_the_site(path):
    text = markdown(path)
    assert "\\newcommand" not in text and "\\def\\" not in text


# ---------------------------------------------------------------- the page "Your run"


def test_your_run_puts_the_numbers_beside_the_books(tmp_path):
    make = load("make_your_run")
    folder = tmp_path / "your_run"
    folder.mkdir()
    (folder / "latent.png").write_bytes(b"")
    (folder / "other_thing.png").write_bytes(b"")
    (folder / "figures.json").write_text('{"other_thing.png": "What it shows"}')
    results = [{"run": "dks-elbo", "r2_velocity": v} for v in (0.1, 0.3)] + [{"run": "ekvae-constrained", "r2_velocity": 0.999}]
    page = make.page({"r2_velocity": 0.9876, "rate": float("nan"), "seed": 0, "steps": 10, "seconds": 90}, results, folder)
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) == 5 and all(line.count("|") == rows[0].count("|") for line in rows)
    assert "**0.988**" in rows[2] and "**–**" in rows[2]
    assert "ekvae-constrained" in rows[3] and "0.999" in rows[3] and "0.200" in rows[4] and "mean of 2 seeds" in rows[4]
    assert "![What it shows](_generated/your_run/other_thing.png)" in page
    assert "![Latent states" in page and "seed 0, steps 10, 1.5 minutes" in page


# ---------------------------------------------------------------- the built site


def test_tags_that_load_from_another_host_are_dropped():
    spec = importlib.util.spec_from_file_location("self_contained", ROOT / "book" / "_ext" / "self_contained.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    own = '<script src="a.js"></script><link rel="stylesheet" href="b.css"><a href="https://c.org">c</a>'
    foreign = '<script defer src="https://x.org/a.js"></script><link href="//x.org/b.css" rel="stylesheet"/>'
    assert module.without_foreign_tags(own + foreign) == own


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def site():
    """The address of the built site, served from this machine."""
    if not (HTML / "book" / "index.html").exists():
        pytest.skip("the site is not built: run `make site`")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    if chromium() is None:
        pytest.skip("no Chromium on this machine (on Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                     "--disable-component-update", "--disable-sync"]  # fmt: skip
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        yield browser
        browser.close()


# What a reader sees of an equation that was not typeset: TeX in the text outside code and typeset equations.
RAW_TEX = r"""() => {
  const raw = [];
  const walker = document.createTreeWalker(document.querySelector('article') || document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.parentElement.closest('script, style, code, pre, mjx-container, textarea')) continue;
    if (/\\[()\[\]]|\$\$|\\(frac|mathbf|begin|end|sum|int|varphi|dot|text|mathcal|mathbb|log)\b/.test(node.data)
        || /\{(numref|ref|eq|cite|doc)(:\w+)?\}/.test(node.data))
      raw.push(node.data.trim().slice(0, 120));
  }
  return raw;
}"""

# Images below the fold load lazily: load each once.
LOAD_IMAGES = """async () => {
  for (const image of document.images) { image.loading = 'eager'; await image.decode().catch(() => {}); }
}"""

# MathJax marks an error as merror, and writes a macro it does not know in red.
BAD_MATHS = """() => [...document.querySelectorAll('mjx-merror, [data-mjx-error], mjx-mtext[style*="color: red"]')]
  .map(e => e.textContent)"""

BROKEN_IMAGES = """() => [...document.images]
  .filter(i => i.getClientRects().length && !i.naturalWidth).map(i => i.src.slice(0, 200))"""

UNNAMED_IMAGES = """() => [...document.querySelectorAll('article img, .bd-article img')]
  .filter(i => !i.alt.trim() || /\\.(png|svg|jpe?g|gif)$/.test(i.alt)).map(i => i.outerHTML.slice(0, 200))"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 360])
@pytest.mark.parametrize("page_name", PAGES)
def test_page_in_a_browser(page_name, width, site, browser):
    external, problems = [], []
    page = browser.new_page(viewport={"width": width, "height": 900})
    try:
        page.on("request", lambda r: external.append(r.url) if not r.url.startswith((site, "data:", "blob:")) else None)
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("response", lambda r: problems.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        page.goto(f"{site}/{page_name}.html", wait_until="load")
        page.evaluate("() => window.MathJax && MathJax.startup ? MathJax.startup.promise : null")
        page.evaluate(LOAD_IMAGES)
        page.wait_for_load_state("networkidle")

        assert not external
        assert not problems
        assert page.evaluate(BAD_MATHS) == []
        assert page.evaluate(RAW_TEX) == []
        assert page.evaluate(BROKEN_IMAGES) == []
        assert page.evaluate(UNNAMED_IMAGES) == []
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
        assert page.title() and page.locator("article h1").count() == 1
    finally:
        page.close()
