"""Run chapters from a clean kernel and store their outputs, in a form that is the same on every
machine.

    python -m tools.notebooks.execute                  every chapter
    python -m tools.notebooks.execute 04 08            the chapters whose names start so
    python -m tools.notebooks.execute --from-text 04   take the cells from chapters/text/04_*.md

After a run the notebook holds no times, no widget state, no paths of this machine; of its metadata,
what it says of itself stays under "book" (tools.chapters). chapters/text/ holds the same cells as
text, for review. A cell that fails, or an output that names a path of this
machine, is an error; the notebook then stays as it was.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tools import ROOT
from tutorial_dssm import files

CHAPTERS = ROOT / "chapters"
TEXT = CHAPTERS / "text"
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "pygments_lexer": "ipython3",
    },
}


def of_the_book(notebook: nbformat.NotebookNode) -> dict[str, dict]:
    """What a notebook says of itself, sorted as in the file: {"book": ...}, or nothing."""
    book = notebook.metadata.get("book")
    return {"book": dict(sorted(book.items()))} if book else {}


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Remove, in place, what differs from run to run: times, widget state, the kernel's version."""
    notebook.metadata = nbformat.from_dict(METADATA | of_the_book(notebook))
    for cell in notebook.cells:
        for key in ("execution", "ExecuteTime", "collapsed"):
            cell.metadata.pop(key, None)
        if cell.cell_type != "code":
            continue
        if cell.source.rstrip().endswith(";"):
            raise ValueError(
                "a cell ends with ;, which `make test` does not honour; "
                f"assign the value instead:\n{cell.source}"
            )
        tags = cell.metadata.get("tags", [])
        widgets = [output for output in cell.outputs if WIDGET in output.get("data", {})]
        if widgets and "nbval-ignore-output" not in tags:
            raise ValueError(
                f"a cell shows a widget and lacks the tag nbval-ignore-output:\n{cell.source}"
            )
        cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        for output in cell.outputs:
            output.get("metadata", {}).pop("execution", None)
        cell.outputs = with_whole_streams(cell.outputs)
    return notebook


def with_whole_streams(outputs: list) -> list:
    """Printed text arrives in pieces that depend on timing: join neighbouring pieces."""
    joined: list = []
    for output in outputs:
        if (
            joined
            and output.output_type == joined[-1].output_type == "stream"
            and output.name == joined[-1].name
        ):
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def machine_paths(notebook: nbformat.NotebookNode) -> list[str]:
    """Paths of this machine that occur in the outputs (an image's bytes do not count)."""
    here = {str(ROOT), str(Path.home()), tempfile.gettempdir() + "/", sys.prefix}
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            text = "".join(
                str(value) for kind, value in data.items() if not kind.startswith("image/")
            )
            text += "".join(output.get("text", ""))
            found += [
                f"{path} in the output of:\n{cell.source}"
                for path in here
                if len(path) > 2 and path in text
            ]
    return found


def as_text(notebook: nbformat.NotebookNode) -> str:
    """The cells as MyST Markdown, without outputs, below what the notebook says of itself; the same
    whatever jupytext's version.
    """
    kept = {"kernelspec": METADATA["kernelspec"], **of_the_book(notebook)}
    keep = "  notebook_metadata_filter: book\n"  # told to jupytext, and no part of the text
    kept["jupytext"] = {"notebook_metadata_filter": "book"}
    text = jupytext.writes(nbformat.from_dict({**notebook, "metadata": kept}), fmt="md:myst")
    version = f"jupytext_version: {jupytext.__version__}"
    return text.replace(keep, "", 1).replace(version, "jupytext_version: 1.0.0", 1)


def with_outputs_of(text: Path, notebook: nbformat.NotebookNode | None) -> nbformat.NotebookNode:
    """A notebook with the cells of `text`, with the cell ids of `notebook` where a cell is
    unchanged.
    """
    fresh = jupytext.read(text)
    ids = {(cell.cell_type, cell.source): cell.id for cell in notebook.cells} if notebook else {}
    for cell in fresh.cells:
        cell["id"] = ids.pop((cell.cell_type, cell.source), cell.id)
    fresh.nbformat, fresh.nbformat_minor = 4, 5
    return fresh


def execute(path: Path, from_text: bool = False) -> None:
    """Run one chapter and store it, and its text beside it."""
    text = TEXT / f"{path.stem}.md"
    old = nbformat.read(path, as_version=4) if path.exists() else None
    notebook = with_outputs_of(text, old) if from_text else old
    assert notebook is not None
    client = NotebookClient(
        notebook,
        timeout=300,
        startup_timeout=120,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--log-level=40"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.create_kernel_manager()
    # Sockets that are files of this kernel alone: two kernels that start at the same moment can
    # pick the same port, and then one never answers.
    with tempfile.TemporaryDirectory() as sockets:
        client.km.transport, client.km.ip = "ipc", f"{sockets}/kernel"
        client.execute()
    normalise(notebook)
    if paths := machine_paths(notebook):
        raise ValueError("an output names a path of this machine: " + "\n".join(paths))
    nbformat.validate(notebook)
    files.write(path, (nbformat.writes(notebook).rstrip("\n") + "\n").encode())
    files.write(text, as_text(notebook).encode())


def chosen(names: list[str], from_text: bool) -> list[Path]:
    """The notebooks whose names start with one of `names`; all of them if there is none."""
    known = {path.stem for path in CHAPTERS.glob("*.ipynb")}
    if from_text:
        known |= {path.stem for path in TEXT.glob("*.md")}
    names = [Path(name).stem for name in names]
    unknown = [name for name in names if not any(stem.startswith(name) for stem in known)]
    if unknown:
        raise SystemExit(
            f"error: no chapter starts with {', '.join(unknown)}; "
            f"there are: {', '.join(sorted(known)) or 'none'}"
        )
    return [
        CHAPTERS / f"{stem}.ipynb"
        for stem in sorted(known)
        if not names or any(stem.startswith(n) for n in names)
    ]


def main(arguments: list[str]) -> int:
    # The kernel of this very environment, whatever kernels the user has elsewhere.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    for variable in ("JUPYTER_PATH", "MPLBACKEND"):
        os.environ.pop(variable, None)
    from_text = "--from-text" in arguments
    failed = False
    for path in chosen([a for a in arguments if a != "--from-text"], from_text):
        start = time.perf_counter()
        try:
            execute(path, from_text)
            print(f"{path.name}: {time.perf_counter() - start:.0f} s")
        except (CellExecutionError, ValueError) as problem:
            failed = True
            print(f"error: {path.name}: {problem}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
