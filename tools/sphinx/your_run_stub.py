"""Write the stub that the page "Your run" includes where `make book` has not made the real part yet."""

from __future__ import annotations

from pathlib import Path

STUB = """\
:::{note}
There is no run here yet. Run `make book`: it trains the model on your machine and fills this page.
:::
"""


def _write_stub(app):
    fragment = Path(app.srcdir) / "book" / "_generated" / "your_run.md"
    if not fragment.exists():
        fragment.parent.mkdir(parents=True, exist_ok=True)
        fragment.write_text(STUB, encoding="utf-8")


def setup(app):
    app.connect("builder-inited", _write_stub)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
