"""Where every shipped file comes from: `pretrained/provenance.json`.

    python -m tools.ship.provenance --check    fail where an entry or a file is missing, or changed
    python -m tools.ship.provenance            take the digests as they are, after a new format

For each file: the command that makes it, the commit that it was made at (for files older than this
list, the first commit that holds them), versions, seconds of training, and its SHA-256. The other
modules of tools.ship write the entries of what they ship.
"""

import argparse
import hashlib
import platform
import subprocess
import sys
from collections.abc import Iterable

import numpy as np
import torch

from tools import ROOT
from tutorial_dssm import __version__, experiments, files

NAME = "provenance.json"
KEYS = ("command", "commit", "versions", "seconds", "sha256")
UNKNOWN = "unknown"
TRAIN = "python -m tutorial_dssm train {run} --seed {seed}"


def load() -> dict[str, dict]:
    """File name -> its entry."""
    path = experiments.PRETRAINED / NAME
    return files.read_json(path) if path.exists() else {}


def versions() -> dict[str, str]:
    """What computes here."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "package": __version__,
    }


def commit() -> str:
    """The commit that is checked out, with + where the package has been changed since; "unknown"
    outside of git.
    """
    try:
        head = _git("rev-parse", "--short", "HEAD").strip()
        changed = _git("status", "--porcelain", "--", "src/*.py")
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN
    return head + "+" * bool(changed)


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return run.stdout


def sha256(name: str) -> str:
    """The digest of a shipped file."""
    return hashlib.sha256((experiments.PRETRAINED / name).read_bytes()).hexdigest()


def record(names: Iterable[str], command: str, seconds: float | None) -> None:
    """Write the entries of files that have just been made by `command`.

    Args:
        names: in the folder of shipped files.
        command: what makes them, from the named runs on.
        seconds: of training; None where nobody measured them.
    """
    took = UNKNOWN if seconds is None else round(seconds, 1)
    entries = load()
    for name in names:
        entries[name] = {
            "command": command,
            "commit": commit(),
            "versions": versions(),
            "seconds": took,
            "sha256": sha256(name),
        }
    files.write_json(experiments.PRETRAINED / NAME, dict(sorted(entries.items())))


def problems() -> list[str]:
    """What is wrong with the entries."""
    entries = load()
    there = {path.name for path in experiments.PRETRAINED.iterdir() if path.is_file()} - {NAME}
    there = {name for name in there if not name.startswith(".")}
    wrong = [f"{name}: no entry in {NAME}" for name in sorted(there - entries.keys())]
    wrong += [f"{name}: an entry in {NAME} and no file" for name in sorted(entries.keys() - there)]
    for name in sorted(there & entries.keys()):
        entry = entries[name]
        missing = [key for key in KEYS if not entry.get(key)]
        if missing:
            wrong.append(f"{name}: no {', '.join(missing)} in {NAME}")
        elif entry["sha256"] != sha256(name):
            wrong.append(f"{name}: changed since it was shipped; make it anew: {entry['command']}")
    return wrong


def seal() -> None:
    """Take the digests of the files as they are."""
    entries = load()
    for name in entries:
        entries[name]["sha256"] = sha256(name)
    files.write_json(experiments.PRETRAINED / NAME, entries)


def main(arguments: list[str]) -> int:
    """Check or seal; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    if not parser.parse_args(arguments).check:
        seal()
        return 0
    wrong = problems()
    for problem in wrong:
        print(f"error: {problem}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
