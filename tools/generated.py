"""Every generated file of the pages: which command makes it, and whether it is current.

    python -m tools.generated            make all (`make pages`)
    python -m tools.generated --check    fail where one is not current (`make check-pages`)

Each command of the list below does the same for its own files. A text is compared with what the
command would write. A picture comes out a little different on every machine, so it is compared by
what it shows: book/made/inputs.json holds the digest of its inputs and of the file that was drawn
from them. While both agree, it is not drawn again; to draw it again, remove it.

Not here: what the package ships (tools.ship.provenance), the chapters' outputs (`make notebooks`,
`make chapters`), and measured times (benchmarks/results/).
"""

import argparse
import hashlib
import importlib
import io
import json
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

from tools import ROOT
from tutorial_dssm import experiments, files

MADE = "book/made"
INPUTS = f"{MADE}/inputs.json"
MADE_BY = {
    "README.md": "tools.pages.results",  # the part between its markers
    f"{MADE}/api.md": "tools.pages.architecture",
    f"{MADE}/cheat_sheet.md": "tools.pages.equations",
    f"{MADE}/equations.md": "tools.pages.equations",
    f"{MADE}/house.svg": "tools.pages.architecture",
    f"{MADE}/map.svg": "tools.pages.map",
    f"{MADE}/map_part1.svg": "tools.pages.map",
    f"{MADE}/map_part2.svg": "tools.pages.map",
    f"{MADE}/map_part3.svg": "tools.pages.map",
    f"{MADE}/map_part4.svg": "tools.pages.map",
    f"{MADE}/prediction.png": "tools.pages.pictures",
    f"{MADE}/results_table.md": "tools.pages.results",
    f"{MADE}/scaling.png": "tools.pages.pictures",
    f"{MADE}/study.png": "tools.pages.study",
    f"{MADE}/study_calibration.png": "tools.pages.study",
    f"{MADE}/study_differences.md": "tools.pages.study",
    f"{MADE}/study_full.md": "tools.pages.study",
    f"{MADE}/study_fusion.md": "tools.pages.fusion",
    f"{MADE}/study_gain.md": "tools.pages.study",
    f"{MADE}/study_gymnasium.md": "tools.pages.study",
    f"{MADE}/study_memory.md": "tools.pages.study",
    f"{MADE}/study_rollouts.png": "tools.pages.study",
    f"{MADE}/study_table.md": "tools.pages.study",
    f"{MADE}/study_tuning.md": "tools.pages.tuning",
}


class Picture(NamedTuple):
    """A picture that is drawn when what it shows has changed."""

    inputs: object  # what decides what it shows, as JSON: rows, settings, digests of weights
    draw: Callable[[], Figure]


def note(path: str) -> str:
    """The first line of a text that is generated as a whole."""
    return f"% Written by `python -m {MADE_BY[path]}`. Do not edit.\n\n"


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def weights(name: str) -> str:
    """A digest of the values of a run's shipped weights, whatever the format of the file."""
    tensors, _ = files.read_tensors(experiments.PRETRAINED / f"{name}.safetensors")
    return digest(b"".join(tensors[key].numpy().tobytes() for key in sorted(tensors)))


def image(figure: Figure, path: str) -> bytes:
    """A figure as PNG or SVG, as the end of the path says; no date in it."""
    buffer = io.BytesIO()
    if path.endswith(".svg"):
        with matplotlib.rc_context({"svg.hashsalt": "book"}):
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    else:
        figure.savefig(buffer, format="png", dpi=140)
    return buffer.getvalue()


def _drawn() -> dict[str, dict[str, str]]:
    """Path -> digests of the inputs and of the file, of every picture that was drawn."""
    path = ROOT / INPUTS
    return files.read_json(path) if path.exists() else {}


def _inputs(picture: Picture) -> str:
    return digest(json.dumps(picture.inputs, sort_keys=True).encode())


def current(path: str, content: str | Picture) -> bool:
    """Whether a file, by its path from the root, is what its command would make."""
    file = ROOT / path
    if not file.exists():
        return False
    if isinstance(content, Picture):
        state = {"inputs": _inputs(content), "file": digest(file.read_bytes())}
        return _drawn().get(path) == state
    return file.read_text(encoding="utf-8") == content


def write(path: str, content: str | Picture) -> None:
    """Make a file."""
    if isinstance(content, str):
        files.write(ROOT / path, content.encode())
        return
    data = image(content.draw(), path)
    files.write(ROOT / path, data)
    drawn = _drawn() | {path: {"inputs": _inputs(content), "file": digest(data)}}
    files.write_json(ROOT / INPUTS, dict(sorted(drawn.items())))


def command(made: Callable[[], Mapping[str, str | Picture]], arguments: list[str]) -> int:
    """The command line of a module that makes files; returns the exit code.

    Args:
        made: every file that it makes, by path from the root; ValueError, in words, where
            something is missing.
        arguments: none, or --check to write nothing and fail where a file is not current.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where a file is not current"
    )
    options = parser.parse_args(arguments)
    try:
        stale = {path: content for path, content in made().items() if not current(path, content)}
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path, content in stale.items():
        if options.check:
            print(f"error: {path} is not current; run python -m {MADE_BY[path]}", file=sys.stderr)
        else:
            write(path, content)
            print(f"wrote {path}")
    return int(options.check and bool(stale))


def main(arguments: list[str]) -> int:
    """Run every command; returns the exit code."""
    modules = [importlib.import_module(name) for name in dict.fromkeys(MADE_BY.values())]
    return max(module.main(arguments) for module in modules)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
