"""Write the stub that the page "Your run" includes where `make book` has not made the real part
yet.
"""

from pathlib import Path

PAGE = "book/made/your_run/page.md"  # of tools.pages.your_run
STUB = """\
:::{note}
There is no run here yet. Run `make book`: it trains the model on your machine and fills this page.
:::
"""


def _write_stub(app):
    page = Path(app.srcdir, PAGE)
    if not page.exists():
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(STUB, encoding="utf-8")


def setup(app):
    app.connect("builder-inited", _write_stub)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
