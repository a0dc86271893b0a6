"""A reader's environment: the package's wheel, what it declares, a kernel, and nothing else; the
source tree is out of reach.

Nothing is downloaded. The wheel is built here. The distributions that it declares, with all that
they need in turn, are those of the environment that runs this, as links to their files; pip then
confirms that nothing is missing. So an import that no one declared fails, and so does a file that
did not get into the wheel.
"""

import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import ROOT

PACKAGE = "tutorial-dssm"
KERNEL = "tutorial-dssm-wheel"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def copy_sources(folder: Path) -> Path:
    """Copy what the package is built from into a new folder: nothing of an earlier build, nothing
    of the book.
    """
    folder.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-CC-BY-4.0"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(
        ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    return folder


def build_wheel(folder: Path) -> Path:
    """Build the package's wheel in a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        source = copy_sources(Path(scratch) / "source")
        subprocess.run(
            [
                *PIP,
                "wheel",
                "--quiet",
                "--no-deps",
                "--no-build-isolation",
                "--wheel-dir",
                folder,
                source,
            ],
            check=True,
        )
    return next(folder.glob("*.whl"))


def needs(distribution: metadata.Distribution, extras: Iterable[str]) -> list[Requirement]:
    """What a distribution with these extras declares for this Python and platform."""
    requirements = map(Requirement, distribution.requires or [])
    return [
        r
        for r in requirements
        if r.marker is None or any(r.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]


def closure(requirements: Iterable[Requirement]) -> dict[str, metadata.Distribution]:
    """The distributions that satisfy the requirements here, and theirs in turn, by name.
    PackageNotFoundError when one is missing.
    """
    found, seen, waiting = {}, set(), list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, *sorted(requirement.extras)) not in seen:
            seen.add((name, *sorted(requirement.extras)))
            found[name] = metadata.distribution(name)
            waiting += needs(found[name], requirement.extras)
    return found


def link(distribution: metadata.Distribution, site: Path) -> None:
    """Make the files of a distribution importable from the folder `site`, one link each: its
    neighbours stay out of reach.
    """
    for file in distribution.files or []:
        path = site / file
        if ".." not in file.parts and not path.is_symlink():  # outside are only scripts and manuals
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(distribution.locate_file(file))


def make(folder: Path, more: Iterable[str] = ("ipykernel",), install: bool = True) -> Path:
    """Make the environment in a folder.

    Args:
        folder: made if it is not there; afterwards it holds the wheel, `venv` and `jupyter`, a
            JUPYTER_PATH with the kernel KERNEL.
        more: requirements beyond those of the package.
        install: whether to install the package, and not only what it needs.
    Returns:
        The environment's interpreter.
    """
    wheel = build_wheel(folder)
    declared = needs(next(iter(metadata.distributions(path=[str(wheel)]))), extras=())
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder / "venv")}))
    for distribution in closure([*declared, *map(Requirement, more)]).values():
        link(distribution, site)
    if install:
        what = f"{PACKAGE} @ {wheel.as_uri()}"
        subprocess.run(
            [*PIP, "--python", python, "install", "--quiet", "--no-index", what], check=True
        )
    kernel = folder / "jupyter" / "kernels" / KERNEL
    kernel.mkdir(parents=True)
    argv = [
        str(python),
        "-I",
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
    ]  # -I: no PYTHONPATH, nothing of the user's
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": KERNEL, "language": "python"})
    )
    return python
