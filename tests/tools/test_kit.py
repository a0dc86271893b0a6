"""The kit: commands of make, workflows, versions, hooks, templates, and plain `pytest --nbval`."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DEPENDENCIES = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
EXTRAS = {
    name: [Requirement(line) for line in lines]
    for name, lines in PYPROJECT["project"]["optional-dependencies"].items()
}
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text())
    for path in (ROOT / ".github" / "workflows").glob("*.yml")
}
JOBS = {
    f"{name}, {job}": content
    for name, workflow in WORKFLOWS.items()
    for job, content in workflow["jobs"].items()
}

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
by_workflow = pytest.mark.parametrize("name", WORKFLOWS)
by_job = pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)


def uses(job: dict) -> dict[str, str]:
    """The actions of a job, with their versions."""
    return dict(step["uses"].split("@") for step in job["steps"] if "uses" in step)


def commands(job: dict) -> list[str]:
    """What a job runs in a shell."""
    return [step["run"] for step in job["steps"] if "run" in step]


def dry_run(*targets: str) -> subprocess.CompletedProcess:
    """What make would do, nothing done."""
    return subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True)


# ---------------------------------------------------------------- commands


@needs_make
@pytest.mark.parametrize(
    "target",
    [
        "help",
        "setup",
        "book",
        "site",
        "pages",
        "check-pages",
        "links",
        "lint",
        "test",
        "test-retrain",
        "test-lowest",
        "unit",
        "unit-fast",
        "coverage",
        "notebooks",
        "benchmarks",
        "clean",
        "distclean",
    ],
)
def test_make_knows_the_target(target):
    run = dry_run(target)
    assert run.returncode == 0, run.stderr
    assert dry_run("no-such-target").returncode != 0


@needs_make
def test_make_refuses_an_old_python_with_one_clear_line(tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", "setup", f"PYTHON={old}"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0
    assert "older than Python 3.11" in run.stderr
    assert not (tmp_path / ".venv").exists()


@needs_make
def test_lint_formats_checks_and_types():
    lines = dry_run("lint").stdout
    assert re.search(r"ruff format --check \.\n.*ruff check \.\n.*mypy\n", lines)


@needs_make
def test_make_test_needs_neither_coverage_nor_other_versions():
    lines = dry_run("test").stdout
    assert "pytest" in lines
    assert "--cov" not in lines
    assert "lowest" not in lines


def test_ci_calls_the_test_command_of_the_readme():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("exec make test")
    readme = (ROOT / "README.md").read_text()
    assert "make test" in readme
    assert "make book" in readme


# ---------------------------------------------------------------- workflows

# Official actions and PyPI's own, at a major version: its tag moves with the fixes.
ACTIONS = {
    "actions/checkout": "v4",
    "actions/setup-python": "v5",
    "actions/upload-artifact": "v4",
    "actions/download-artifact": "v4",
    "actions/upload-pages-artifact": "v3",
    "actions/deploy-pages": "v4",
    "pypa/gh-action-pypi-publish": "release/v1",
}
EVENTS = {
    "ci": {"push", "pull_request"},
    "pages": {"push", "workflow_dispatch"},
    "release": {"push"},
    "scheduled": {"schedule", "workflow_dispatch"},
}
# The jobs that may do more than read the repository, and what.
PERMISSIONS = {
    "release, pypi": {"id-token": "write"},
    "release, github": {"contents": "write"},
}


@by_workflow
def test_workflow_starts_with_its_events_and_may_only_read(name):
    workflow = WORKFLOWS[name]
    assert set(workflow[True]) == EVENTS[name]  # YAML 1.1 reads the key `on` as true
    more = {"pages": "write", "id-token": "write"} if name == "pages" else {}
    assert workflow["permissions"] == {"contents": "read"} | more


def test_no_job_may_do_more_than_it_must():
    more = {name: job["permissions"] for name, job in JOBS.items() if "permissions" in job}
    assert more == PERMISSIONS


@by_job
def test_job_ends_in_time_and_uses_known_actions(job):
    assert job["timeout-minutes"] <= 60
    assert uses(job).items() <= ACTIONS.items()


@by_job
def test_job_on_pinned_requirements_keeps_them_in_a_cache(job):
    for step in job["steps"]:
        if step.get("uses", "").startswith("actions/setup-python") and "cache" in step["with"]:
            assert step["with"]["cache"] == "pip"
            assert (ROOT / step["with"]["cache-dependency-path"]).is_file()


@needs_make
@by_job
def test_job_calls_targets_that_make_knows(job):
    called = re.findall(r"\bmake ([a-z-]+)", "\n".join(commands(job)))
    assert all(dry_run(target).returncode == 0 for target in called), called


@pytest.mark.parametrize(
    "name, expected",
    [
        ("ci, test", ["bash .ci/run"]),
        ("ci, lowest", ["make test-lowest"]),
        ("pages, publish", ["make book"]),
        ("scheduled, retrain", ["make test-retrain"]),
    ],
)
def test_job_runs_one_command(name, expected):
    assert commands(JOBS[name]) == expected


def test_pages_publishes_what_make_book_builds():
    (upload,) = [s for s in JOBS["pages, publish"]["steps"] if "upload-pages" in s.get("uses", "")]
    assert upload["with"]["path"] == "_build/html"


def test_every_declared_python_is_tested():
    declared = [
        line.rpartition(" ")[2]
        for line in PYPROJECT["project"]["classifiers"]
        if re.search(r":: 3\.\d+$", line)
    ]
    assert JOBS["ci, newest"]["strategy"]["matrix"]["python-version"] == declared
    assert PYPROJECT["project"]["requires-python"] == f">={declared[0]}"


# ---------------------------------------------------------------- versions

# What Google Colab has installed (its list of August 2026), which the package must leave as it is.
COLAB = {
    "torch": "2.11.0",
    "numpy": "2.1.3",
    "scipy": "1.16.3",
    "matplotlib": "3.10.0",
    "safetensors": "0.8.0",
    "ipywidgets": "7.7.1",
    "gymnasium": "1.3.0",
}


def pins() -> dict[str, str]:
    """The versions in requirements.txt. AssertionError when a line is no exact pin."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.\[\]-]+==[\w.]+", line) for line in lines), lines
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


@pytest.mark.parametrize("requirement", DEPENDENCIES, ids=str)
def test_dependency_has_a_lower_bound_and_accepts_the_pin_and_colab(requirement):
    assert [part.operator for part in requirement.specifier] == [">="]
    assert pins()[canonicalize_name(requirement.name)] in requirement.specifier
    if requirement.name in COLAB:
        assert COLAB[requirement.name] in requirement.specifier


@pytest.mark.parametrize("extra", ["gym", "study", "test", "book", "dev"])
def test_extra_is_pinned(extra):
    on_request = {"pre-commit"}  # nothing behind make needs it
    for requirement in EXTRAS[extra]:
        if requirement.name not in on_request:
            assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def test_gym_installs_no_pygame_over_another():
    (gymnasium,) = EXTRAS["gym"]
    assert gymnasium.name == "gymnasium"
    assert COLAB["gymnasium"] in gymnasium.specifier


def test_the_wheel_says_that_it_is_typed():
    assert "py.typed" in PYPROJECT["tool"]["setuptools"]["package-data"]["tutorial_dssm"]
    assert (ROOT / "src" / "tutorial_dssm" / "py.typed").is_file()


# ---------------------------------------------------------------- hooks, templates, chapters


def test_hooks_call_the_tools_of_make_lint():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (local,) = [repository for repository in config["repos"] if repository["repo"] == "local"]
    entries = {hook["id"]: hook["entry"] for hook in local["hooks"]}
    for name, tool in {"ruff-format": "ruff", "ruff-check": "ruff", "mypy": "mypy"}.items():
        assert entries[name].startswith(f".venv/bin/python -m {tool}")
        assert tool in pins()


@pytest.mark.parametrize("outputs, finds", [(7, False), (None, True)])
def test_hook_finds_a_cell_that_was_not_run(outputs, finds):
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = {hook["id"]: hook for repository in config["repos"] for hook in repository["hooks"]}
    cell = json.dumps({"cell_type": "code", "execution_count": outputs}, indent=1)
    assert bool(re.search(hooks["notebook-was-run"]["entry"], cell)) == finds


@pytest.mark.parametrize("name", ["error_in_the_book", "bug_in_the_package", "question_or_idea"])
def test_issue_form_is_complete(name):
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    assert set(form) == {"name", "description", "labels", "body"}
    fields = [field["id"] for field in form["body"]]
    assert len(set(fields)) == len(fields)
    for field in form["body"]:
        assert field["type"] in {"input", "textarea"}
        assert field["attributes"]["label"]
        assert field["validations"]["required"] is True


def test_dependabot_knows_the_pins_and_the_actions():
    config = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())
    assert {update["package-ecosystem"] for update in config["updates"]} == {
        "pip",
        "github-actions",
    }


@pytest.mark.parametrize("threads", [None, "3"])
def test_plain_nbval_runs_chapters_on_this_checkout_with_one_thread(tmp_path, threads):
    """`pytest --nbval chapters/`, on a copy of the checkout with one small chapter."""
    import nbformat

    for name in ("pyproject.toml", "chapters/conftest.py", "tools/notebooks/nbval_sanitize.cfg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    module = tmp_path / "src" / "tutorial_dssm" / "__init__.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    cell = nbformat.v4.new_code_cell(
        "import os\n"
        "import tutorial_dssm\n"
        "from pathlib import Path\n"
        'seen = [os.environ["OMP_NUM_THREADS"], os.environ["MPLBACKEND"] == "Agg"]\n'
        'assert Path("../seen").write_text(repr([*seen, tutorial_dssm.__file__]))\n'
        'print("it took 3.1 s")'
    )
    cell["execution_count"] = 1
    cell["outputs"] = [nbformat.v4.new_output("stream", text="it took 2.2 s\n")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata=kernel)
    nbformat.write(notebook, tmp_path / "chapters" / "01.ipynb")
    variables = {k: v for k, v in os.environ.items() if k not in {"OMP_NUM_THREADS", "PYTHONPATH"}}
    variables |= {"MPLBACKEND": "Agg"} | ({"OMP_NUM_THREADS": threads} if threads else {})
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "chapters/"],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    assert (tmp_path / "seen").read_text() == repr([threads or "1", False, str(module)])
