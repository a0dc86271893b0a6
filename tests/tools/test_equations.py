"""The table of equations and the cheat sheet are complete and current; the glossary leads on."""

import functools
import importlib
import inspect
import re
import subprocess
import sys

import pytest

from pages import HTML
from tools import ROOT
from tools.pages import equations as make

PAGES = make.pages()
LABELS = [equation.label for _, equations in PAGES.values() for equation in equations]
NAMED = sorted({(m.name, m.role) for m in make.functions()})


def test_every_equation_is_computed_and_checked_and_every_label_exists():
    assert not make.problems()


def test_the_table_has_each_equation_once():
    rows = re.findall(r"^\| \{eq\}`([\w-]+)`", make.equations_table(), re.MULTILINE)
    assert rows == LABELS and len(set(rows)) == len(rows)


def test_the_check_can_fail(monkeypatch):
    bare = {
        "page.md": (
            "Page",
            [make.Equation("alone", "", ""), make.Equation("kf-predict", "", "", cell=True)],
        )
    }
    monkeypatch.setattr(make, "pages", lambda: bare)
    wrong = "\n".join(make.problems())
    assert (
        "alone: no function" in wrong
        and "alone: no test" in wrong
        and "kf-update: no such equation, named by" in wrong
    )
    assert "kf-predict:" not in wrong
    assert make.main(["--check"]) == 1


def test_equations_are_found_in_every_spelling():
    fence = "```"
    page = f"""# Title
{fence}python
$$ (not-this)
# Not a heading
{fence}

$$ a = b $$ (one)

::::{{note}}
$$
c = d
$$ (two)

{fence}{{math}}
:label: three
e = f
{fence}
::::

{fence}{{code-cell}}
# A comment
1 + 1
{fence}

### Later

$$
no number
$$

$$
g = h
$$ (four)

## Another section

{fence}{{code-cell}}
2
{fence}
"""
    title, found = make.read_page(page)
    assert title == "Title"
    assert [(e.label, e.section, e.tex, e.cell) for e in found] == [
        ("one", "Title", "a = b", True),
        ("two", "Title", "c = d", True),
        ("three", "Title", "e = f", True),
        ("four", "Later", "g = h", False),
    ]


def test_a_line_that_is_not_a_list_of_labels_is_refused():
    assert make.labels_in("What it does.\n\nEquations: kf-predict, kf-update\n") == [
        "kf-predict",
        "kf-update",
    ]
    for line in ("Equations: (3)", "Equations: kf-predict kf-update", "Equations:"):
        with pytest.raises(ValueError, match="not a list of labels"):
            make.labels_in(line)


@pytest.mark.parametrize("name, role", NAMED)
def test_every_function_named_can_be_imported(name, role):
    module, *path = name.rsplit(".", 2 if role == "meth" else 1)
    found = functools.reduce(getattr, path, importlib.import_module(module))
    assert inspect.isclass(found) if role == "class" else inspect.isfunction(found)
    assert found.__module__ == module


def test_every_test_named_is_collected():
    names = sorted({m.name for m in make.tests()})
    files = sorted({f"tests/{name.split('::')[0]}" for name in names})
    arguments = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        *files,
    ]
    run = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    collected = {line.removeprefix("tests/").split("[")[0] for line in run.stdout.splitlines()}
    assert run.returncode == 0, run.stdout + run.stderr
    assert not set(names) - collected


# ---------------------------------------------------------------- glossary


def test_every_word_of_the_glossary_leads_somewhere():
    text = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
    entries = (
        re.search(r"^```\{glossary\}\n:sorted:\n\n(.*)^```", text, re.MULTILINE | re.DOTALL)[1]
        .strip()
        .split("\n\n")
    )
    words = [entry.split("\n")[0] for entry in entries]
    assert len(words) >= 60 and len({word.lower() for word in words}) == len(words)
    assert not [
        entry
        for entry in entries
        if not re.fullmatch(r"[^\n]+\n  .*(\{\{ ch\d+ \}\}|\]\([\w./-]+\))\.", entry)
    ]


# ---------------------------------------------------------------- the built site


def built(name: str) -> str:
    path = HTML / f"{name}.html"
    if not path.exists():
        pytest.skip("the site is not built: run `make site`")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("address", PAGES)
def test_every_number_on_the_page_belongs_to_an_equation_of_the_table(address):
    """What the site numbers, in whatever way it was written, is what the script found."""
    html = built(
        f"book/{address.removesuffix('.md')}"
        if address.endswith(".md")
        else address.removeprefix("../").removesuffix(".ipynb")
    )
    assert html.count('class="eqno"') == len(PAGES[address][1])


def test_every_function_in_the_table_is_a_link_to_the_package_page():
    html = built("book/equations")
    assert not [name for name, _ in NAMED if f'href="api.html#{name}"' not in html]


def test_the_package_page_links_back_to_the_equations():
    html = built("book/api")
    assert not [
        label for label in {m.label for m in make.functions()} if f"#equation-{label}" not in html
    ]
