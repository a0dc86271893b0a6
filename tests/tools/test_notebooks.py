"""The chapters as files: what is stored in them, and what a reader's first cell does.
`make chapters` runs them.
"""

import ast
import html
import json
import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from pages import HTML
from tools import ROOT
from tools.notebooks import check, wheel_environment

NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

MB = 1_000_000
PAGE_LIMIT, ANIMATION_LIMIT = 3 * MB, 2 * MB

# What no output may hold, with a line that shows it.
UNWANTED = {
    "a machine's path": (
        r"(?<![\w.])/(home|root|tmp|Users|work|content|opt|var|usr)/",
        "/home/me/book/x.py",
    ),
    "a temporary name": (r"\bipykernel_\d+|<ipython-input", "ipykernel_4711/12.py:3"),
    "a date": (r"\b20\d\d-[01]\d-[0-3]\d\b", "2025-03-09 weights"),
    "a time of day": (r"\b[0-2]\d:[0-5]\d:[0-5]\d\b", "done at 09:31:07"),
    "a warning": (r"\b\w*Warning\b|\bWARNING\b", "x.py:3: UserWarning: lr_scheduler.step() first"),
    "an error": (r"Traceback \(most recent call last\)", "Traceback (most recent call last):"),
    "a progress bar": (r"\d%\|.*\|", " 45%|####      | 9/20 [00:01<00:01, 8.8step/s]"),
}


def code_cells(path: Path) -> list[dict]:
    cells = [
        cell
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def texts(output: dict) -> list[str]:
    """What an output says in words; pictures, also those within HTML, left out."""
    data = output.get("data", {})
    parts = [
        output.get("text", ""),
        *(content for kind, content in data.items() if kind.startswith("text/")),
    ]
    return [re.sub(r"data:[\w/+;-]+base64,[\w+/=\s\\]+", "", "".join(part)) for part in parts]


def unwanted(output: dict) -> list[str]:
    found = [
        f"{what}: {match[0]}"
        for text in texts(output)
        for what, (pattern, _) in UNWANTED.items()
        if (match := re.search(pattern, text))
    ]
    return found + ["standard error"] * (output.get("name") == "stderr")


def prints(source: str) -> bool:
    """Whether a cell prints for certain: a call of print that no condition, loop or function
    encloses.
    """
    python = re.sub(r"^(\s*)%.*", r"\1pass", source, flags=re.MULTILINE)
    calls = [
        node.value
        for node in ast.parse(python).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    return any(
        isinstance(call.func, ast.Name) and call.func.id in ("print", "same") for call in calls
    )


def animations(path: Path) -> int:
    """The size of the animations stored in a chapter, in bytes."""
    data = [
        output.get("data", {}).get("text/html", "")
        for cell in code_cells(path)
        for output in cell["outputs"]
    ]
    return sum(
        len("".join(text))
        for text in data
        if "<script" in "".join(text) or "base64," in "".join(text)
    )


def page_weight(page: Path) -> int:
    """The size of a built page with its own pictures, in bytes."""
    text = page.read_text(encoding="utf-8")
    sources = {
        unquote(html.unescape(source))
        for source in re.findall(r'<img\b[^>]*?\bsrc="([^"]+)"', text)
    }
    pictures = {
        (page.parent / source).resolve()
        for source in sources
        if not source.startswith(("data:", "http:", "https:"))
    }
    return page.stat().st_size + sum(picture.stat().st_size for picture in pictures)


# ---------------------------------------------------------------- what is stored


@pytest.mark.parametrize("what", UNWANTED)
def test_what_is_unwanted_is_found(what):
    pattern, example = UNWANTED[what]
    assert re.search(pattern, example)
    assert unwanted({"output_type": "stream", "name": "stdout", "text": [example]})
    assert unwanted({"output_type": "execute_result", "data": {"text/plain": [example]}})


def test_ordinary_numbers_are_not_unwanted():
    assert not unwanted(
        {
            "output_type": "stream",
            "name": "stdout",
            "text": ["R² of the velocity: 0.998 | step 2000-4000, ratio 1/2, 10:30"],
        }
    )
    assert unwanted({"output_type": "stream", "name": "stderr", "text": ["hello"]})


@by_name
def test_outputs_hold_nothing_of_a_machine_or_a_moment(path):
    found = {
        cell["source"][:200]: bad
        for cell in code_cells(path)
        for output in cell["outputs"]
        if (bad := unwanted(output))
    }
    assert not found


def test_a_cell_that_prints_is_recognised():
    assert prints("%matplotlib inline\nx = 1\nprint(x)") and prints("same('a', 1, 1)")
    assert not prints("def f():\n    print(1)\nif x:\n    print(1)")


@by_name
def test_cells_that_print_have_stored_outputs(path):
    missing = [
        cell["source"]
        for cell in code_cells(path)
        if prints(cell["source"]) and not cell["outputs"]
    ]
    assert not missing, "run `make notebooks`"


@by_name
def test_animations_are_small(path):
    assert 0 < animations(path) < ANIMATION_LIMIT, (
        "every chapter has something that moves without a kernel"
    )


@by_name
def test_page_is_light(path):
    page = HTML / "chapters" / f"{path.stem}.html"
    if not page.exists():
        pytest.skip("the site is not built: run `make site`")
    assert page_weight(page) < PAGE_LIMIT


def test_the_weight_of_a_page_counts_its_pictures_once(tmp_path):
    (tmp_path / "a b.png").write_bytes(bytes(1000))
    (tmp_path / "page.html").write_text(
        '<img alt="x" src="a%20b.png"><img src="a%20b.png"><img src="data:image/png;base64,AA==">'
    )
    assert page_weight(tmp_path / "page.html") == 1000 + (tmp_path / "page.html").stat().st_size


# ---------------------------------------------------------------- the first two cells


def test_the_first_cell_is_the_same_in_all_chapters():
    assert len({code_cells(path)[0]["source"] for path in NOTEBOOKS}) == 1


@by_name
def test_the_switch_stands_at_the_top(path):
    """RETRAIN is set once, in the second code cell and in the one form that `make test-retrain`
    turns on, and then looked at.
    """
    cells = [cell["source"] for cell in code_cells(path)]
    if not any("RETRAIN" in source for source in cells) and not any(
        "experiments.run(" in source for source in cells
    ):
        pytest.skip("nothing to train in this chapter")
    assert re.fullmatch(r"RETRAIN = False  # True: train .*", cells[1])
    assert not [
        source for source in cells[2:] if re.search(r"^\s*RETRAIN\s*=", source, re.MULTILINE)
    ]
    assert any("RETRAIN" in source for source in cells[2:])


# ---------------------------------------------------------------- a reader's environment


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    wheel_environment.make(folder)
    return folder


def notebook(path: Path, *sources: str, printed: str = "") -> Path:
    """A notebook of code cells; the last one has printed something."""
    cell = {"cell_type": "code", "metadata": {}, "execution_count": 1, "outputs": []}
    cells = [cell | {"id": f"c{i}", "source": source} for i, source in enumerate(sources)]
    if printed:
        cells[-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": printed}]
    path.write_text(
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    return path


def test_the_environment_holds_the_wheel_and_nothing_of_the_source_tree(environment):
    code = (
        "import sys, tutorial_dssm\n"
        "print(*sys.path, tutorial_dssm.__file__, tutorial_dssm.__path__[0], sep='\\n')"
    )
    shown = subprocess.run(
        [environment / "venv" / "bin" / "python", "-I", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert str(ROOT) not in shown and f"{environment}/venv" in shown.splitlines()[-1]


@pytest.mark.parametrize(
    "sources, printed, problem",
    [
        (["import tutorial_dssm", "print(tutorial_dssm.__name__)"], "tutorial_dssm\n", None),
        (["print(2)"], "3\n", "outputs differ|mismatch"),
        (["import statsmodels"], "", "No module named 'statsmodels'"),
        (["import tests.oracles"], "", "No module named 'tests'"),
        (["text = open('../book/references.bib').read()"], "", "No such file or directory"),
        (
            [
                "from pathlib import Path",
                "import tutorial_dssm",
                "parents = Path(tutorial_dssm.__file__).resolve().parents",
                "assert any((p / 'pyproject.toml').exists() for p in parents)",
            ],
            "",
            "AssertionError",
        ),
    ],
    ids=[
        "good",
        "another output",
        "undeclared package",
        "module of the repository",
        "file of the repository",
        "way back to the source tree",
    ],
)
def test_only_what_a_reader_has_is_there(environment, tmp_path, sources, printed, problem):
    outcome = check.check(notebook(tmp_path / "a.ipynb", *sources, printed=printed), environment)
    if problem is None:
        assert not outcome.problem
    else:
        assert re.search(problem, outcome.problem)


def test_a_chapter_that_takes_too_long_fails(environment, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "LIMIT", 0.1)
    assert (
        "processor time"
        in check.check(notebook(tmp_path / "a.ipynb", "x = 1"), environment).problem
    )


SWITCH = "RETRAIN = False  # True: train"
TRAIN = """
from pathlib import Path
from tutorial_dssm import experiments
if RETRAIN:
    experiments.run(experiments.get("dkf-elbo"), Path("runs/dkf-elbo"), progress=False)
    assert experiments.load("runs/dkf-elbo").experiment.training.steps < 100
"""


@pytest.mark.parametrize(
    "use, problem",
    [(TRAIN, ""), ("assert not RETRAIN", "AssertionError"), ("RETRAIN", "trained nothing")],
)
def test_retraining_turns_the_switch_on_and_looks_at_what_was_trained(
    environment, tmp_path, use, problem
):
    path = notebook(tmp_path / "a.ipynb", SWITCH, use)
    assert check.can_train(path)
    outcome = check.check(path, environment, retrain=True)
    assert problem in outcome.problem and bool(problem) == bool(outcome.problem)


def test_a_notebook_without_a_switch_cannot_train(tmp_path):
    path = notebook(tmp_path / "a.ipynb", "1")
    assert not check.can_train(path)
    with pytest.raises(ValueError, match="found 0"):
        check.with_retraining(json.loads(path.read_text()))


def test_the_first_cell_installs_the_package_where_it_is_missing(tmp_path):
    """As on Colab: torch and the rest are there, the package comes from the repository, here a copy
    of the sources under its address.
    """
    address = re.search(r"git\+(https://\S+)", code_cells(NOTEBOOKS[0])[0]["source"])[1]
    python = wheel_environment.make(
        tmp_path / "colab", more=("ipykernel", "pip", "setuptools"), install=False
    )
    cell = tmp_path / "cell.ipy"
    cell.write_text(
        code_cells(NOTEBOOKS[0])[0]["source"]
        + "\nimport tutorial_dssm\nprint('here:', tutorial_dssm.__file__)\n"
    )
    repository = wheel_environment.copy_sources(tmp_path / "repository")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "all"],
    ):
        subprocess.run(["git", *command], cwd=repository, check=True)
    variables = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{repository}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "HOME": str(tmp_path),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    run = [python, "-I", "-m", "IPython", "--no-banner", cell]
    first = subprocess.run(run, env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert f"here: {tmp_path}/colab/venv" in first.stdout, first.stdout + first.stderr
    again = subprocess.run(
        run,
        env=variables | {"GIT_CONFIG_COUNT": "0", "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert again.stdout == first.stdout.splitlines(keepends=True)[-1] and not again.stderr, (
        "it does something where the package is there"
    )
