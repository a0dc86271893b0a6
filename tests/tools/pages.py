"""Where the pages of the book are: their sources, the scripts behind them, and the built site."""

import importlib.util
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(entry["file"] for part in TOC["parts"] for entry in part["chapters"])]
needs_site = pytest.mark.skipif(not (HTML / f"{PAGES[0]}.html").exists(), reason="the site is not built: run `make site`")


def load(name: str, folder: str = "book"):
    """A script of book/, or an extension of book/_ext, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def source(page: str) -> Path:
    """The file of a page named in the table of contents."""
    return next(found for suffix in (".md", ".ipynb") if (found := ROOT / f"{page}{suffix}").exists())
