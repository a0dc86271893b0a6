"""Where the pages of the book are: their sources, and the built site."""

from pathlib import Path

import pytest
import yaml

from tools import ROOT

HTML = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(entry["file"] for part in TOC["parts"] for entry in part["chapters"])]
needs_site = pytest.mark.skipif(
    not (HTML / f"{PAGES[0]}.html").exists(), reason="the site is not built: run `make site`"
)


def source(page: str) -> Path:
    """The file of a page named in the table of contents."""
    return next(
        found for suffix in (".md", ".ipynb") if (found := ROOT / f"{page}{suffix}").exists()
    )
