"""One place holds the repository's address; every copy agrees with it, and `make repository`
rewrites them all.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools import ROOT, repository

OTHER = ("some-One", "their.book-2")


def install_cell(address: str) -> str:
    return f"""\
# On Colab: install the book's package once. Elsewhere this does nothing.
import importlib.util

if importlib.util.find_spec("tutorial_dssm") is None:
    %pip install -q git+{address}"""


def disagreements(root: Path) -> list[str]:
    """Every copy of the address under `root` that is not the one in pyproject.toml."""
    owner, name = repository.current(root)
    address = f"https://github.com/{owner}/{name}"
    wrong = []

    def demand(where: object, what: str, expected: str) -> None:
        if what != expected:
            wrong.append(f"{where}: {what!r}, expected {expected!r}")

    config = yaml.safe_load((root / "_config.yml").read_text())
    demand("_config.yml", config["repository"]["url"], address)
    demand("_config.yml", config["repository"]["path_to_book"], "")
    site = f"https://{owner}.github.io/{name}"
    demand("_config.yml, html.baseurl", config["html"]["baseurl"], f"{site}/")
    demand("_config.yml, ogp_site_url", config["sphinx"]["config"]["ogp_site_url"], f"{site}/")
    demand(
        "pyproject.toml",
        re.search(r'^Documentation = "(.*)"', (root / "pyproject.toml").read_text(), re.MULTILINE)[
            1
        ],
        site,
    )
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    demand("CITATION.cff", citation["repository-code"], address)
    demand("CITATION.cff", citation["url"], site)

    for path in repository.files(root):
        text = path.read_text(encoding="utf-8")
        where = path.relative_to(root)
        if where == Path("tests/tools/test_repository.py"):
            continue
        for match in re.finditer(r"git\+(https://github\.com/[\w.-]+/[\w.-]+)", text):
            demand(where, match[1], address)
        for match in re.finditer(r"git clone (https?://[^\s`]+)", text):
            demand(where, match[1], address)
        for match in re.finditer(
            r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob/(\w+)/([\w./-]+\.ipynb)",
            text,
        ):
            demand(
                where, f"{match[1]} {match[2]}", f"{owner}/{name} {config['repository']['branch']}"
            )
            if path.suffix == ".ipynb":
                demand(where, match[3], where.as_posix())
            elif not (root / match[3]).exists():
                wrong.append(f"{where}: Colab link to {match[3]}, which does not exist")

    for path in sorted((root / "chapters").glob("*.ipynb")):
        where = path.relative_to(root)
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        first = next(i for i, cell in enumerate(cells) if cell["cell_type"] == "code")
        plain = "\n".join(line for line in "".join(cells[first]["source"]).splitlines() if line)
        demand(f"{where}, install cell", plain, install_cell(address).replace("\n\n", "\n"))
        before = "".join("".join(cell["source"]) for cell in cells[:first])
        badge = (
            f"https://colab.research.google.com/github/{owner}/{name}/blob/main/{where.as_posix()}"
        )
        if badge not in before:
            wrong.append(f"{where}: no Colab badge for {badge} before the install cell")
    return wrong


def test_every_copy_of_the_address_agrees():
    assert not disagreements(ROOT), "run `make repository URL=...`:\n" + "\n".join(
        disagreements(ROOT)
    )


@pytest.fixture
def copy(tmp_path):
    """The text files of the project, somewhere else."""
    for path in repository.files(ROOT):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


def contents(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in repository.files(root)}


def test_rewriting_leaves_no_old_address_and_back_is_identical(copy):
    before, old = contents(copy), "/".join(repository.current(copy))
    other = "/".join(OTHER)  # put together here, so that the way back leaves this file alone
    changed = {
        path.relative_to(copy).as_posix()
        for path in repository.rewrite(f"https://github.com/{other}", copy)
    }
    assert {"pyproject.toml", "_config.yml", "README.md", "CITATION.cff"} <= changed
    assert changed >= {f"chapters/{path.name}" for path in (ROOT / "chapters").glob("*.ipynb")}
    assert repository.current(copy) == OTHER
    site = "{}.github.io/{}".format(*old.split("/"))
    assert not [
        path
        for path, data in contents(copy).items()
        if f"github.com/{old}".encode() in data or site.encode() in data
    ]
    assert not disagreements(copy)
    repository.rewrite(f"https://github.com/{old}", copy)
    assert contents(copy) == before


def test_a_stale_copy_is_found(copy):
    path = next(iter(sorted((copy / "chapters").glob("*.ipynb"))), None)
    if path is None:
        pytest.skip("no chapter yet")
    path.write_text(path.read_text().replace("/".join(repository.current(copy)), "some-one/else"))
    assert disagreements(copy)


def test_other_repositories_are_left_alone(copy):
    owner, name = repository.current(copy)
    others = f"https://github.com/{owner}/{name}-data https://github.com/{owner}x/{name} https://github.com/x{owner}/{name}.io"
    (copy / "other.md").write_text(others)
    repository.rewrite("https://github.com/a/b", copy)
    assert (copy / "other.md").read_text() == others


@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}.git", " {} "])
def test_spellings_of_one_address(spelling):
    assert repository.parse(spelling.format("https://github.com/a/b")) == ("a", "b")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a/b",
        "github.com/a/b",
        "http://github.com/a/b",
        "https://github.com/a",
        "https://github.com/a/b/c",
        "https://gitlab.com/a/b",
        "https://github.com/-a/b",
        "https://github.com/a/..",
        "https://github.com/a b/c",
        'https://github.com/a/b"',
    ],
)
def test_bad_address_is_refused_and_nothing_changes(url, copy):
    before = contents(copy)
    with pytest.raises(ValueError, match="expected URL=https://github.com/OWNER/NAME"):
        repository.rewrite(url, copy)
    assert contents(copy) == before


@pytest.mark.parametrize("arguments", [[], [""], ["nonsense"]])
def test_command_line_says_what_was_expected(arguments):
    run = subprocess.run(
        [sys.executable, "-m", "tools.repository", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode != 0
    assert "URL=https://github.com/OWNER/NAME" in run.stderr and "Traceback" not in run.stderr
