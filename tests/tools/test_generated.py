"""Every generated file is listed, made by a command that is there, and checked by it."""

import importlib
import shutil
import subprocess

import pytest
from matplotlib.figure import Figure

from tools import ROOT, generated
from tools.generated import INPUTS, MADE, MADE_BY, Picture

MODULES = list(dict.fromkeys(MADE_BY.values()))


@pytest.fixture(scope="module")
def made():
    """What every command makes: module -> path -> content."""
    return {name: importlib.import_module(name).made() for name in MODULES}


def test_the_list_is_complete():
    """Every file of book/made that is in the repository is on the list, and every file on the list
    is there.
    """
    run = subprocess.run(
        ["git", "ls-files", MADE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    there = set(run.stdout.split()) - {INPUTS}
    assert there == {path for path in MADE_BY if path.startswith(f"{MADE}/")}
    assert all((ROOT / path).exists() for path in MADE_BY)


def test_pages_include_nothing_generated_that_no_command_makes():
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "book").rglob("*.md")]
    unused = [
        path for path in MADE_BY if not any(path.removeprefix("book/") in page for page in pages)
    ]
    assert unused == ["README.md", "_config.yml", "_toc.yml"]  # they hold parts that are


@pytest.mark.parametrize("name", MODULES)
def test_each_command_makes_what_the_list_says(made, name):
    assert set(made[name]) == {path for path, module in MADE_BY.items() if module == name}


@pytest.mark.parametrize("name", MODULES)
def test_each_check_passes_now_and_fails_when_a_file_has_changed(
    made, name, tmp_path, monkeypatch, capsys
):
    module = importlib.import_module(name)
    monkeypatch.setattr(module, "made", lambda: made[name])
    assert module.main(["--check"]) == 0
    for path in [INPUTS, *made[name]]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    monkeypatch.setattr(generated, "ROOT", tmp_path)
    assert module.main(["--check"]) == 0
    for path in made[name]:
        before = (tmp_path / path).read_bytes()
        (tmp_path / path).write_bytes(before + b" ")
        assert module.main(["--check"]) == 1
        assert f"{path} is not current; run python -m {name}\n" in capsys.readouterr().err
        (tmp_path / path).unlink()
        assert module.main(["--check"]) == 1
        (tmp_path / path).write_bytes(before)
    assert module.main(["--check"]) == 0


def test_a_part_stands_between_its_markers():
    text = "before\n# a:begin, by hand\nold\n# a:end\nafter: b\n"
    filled = generated.with_part("x.yml", text, "a", "one\ntwo")
    assert filled == "before\n# a:begin, by hand\none\ntwo\n# a:end\nafter: b\n"
    assert generated.with_part("x.yml", filled, "a", "one\ntwo") == filled
    for broken in ("none", "# a:end\n# a:begin\n", text + "# a:begin\n", text + "# a:end\n"):
        with pytest.raises(ValueError, match="x.yml must hold a:begin"):
            generated.with_part("x.yml", broken, "a", "new")


def test_a_picture_is_drawn_again_when_its_inputs_change_and_only_then(tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "ROOT", tmp_path)
    path, drawn = f"{MADE}/map.svg", []

    def command(inputs, *arguments):
        def draw():
            drawn.append(inputs)
            return Figure()

        return generated.command(lambda: {path: Picture(inputs, draw)}, list(arguments))

    assert command([1.5], "--check") == 1 and not drawn
    for inputs in ([1.5], [1.5], [2.5]):
        assert command(inputs) == 0
    assert drawn == [[1.5], [2.5]]
    assert command([2.5], "--check") == 0 and command([1.5], "--check") == 1


def test_what_is_missing_is_said_in_words(capsys):
    def made():
        raise ValueError("no rows")

    assert generated.command(made, ["--check"]) == 1
    assert capsys.readouterr().err == "error: no rows\n"
