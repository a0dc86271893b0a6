"""End every page with a BibTeX entry for it: the page's title and address, the rest from
CITATION.cff.
"""

import html
import re
from pathlib import Path
from urllib.parse import urljoin

import yaml

ELEMENT = """
<details class="cite-page">
<summary>Cite this page</summary>
<div class="highlight-bibtex notranslate"><div class="highlight"><pre>{entry}</pre></div></div>
</details>
"""


def bibtex(title: str, address: str, page: str, year: str, citation: dict) -> str:
    """The entry of the page with this title and address in the work that `citation` (CITATION.cff)
    describes.
    """
    authors = [
        f"{{{a['name']}}}" if "name" in a else f"{a['family-names']}, {a['given-names']}"
        for a in citation["authors"]
    ]
    fields = {
        "author": _escaped(" and ".join(authors)),
        "title": _escaped(title),
        "booktitle": _escaped(citation["title"]),
        "year": year,
        "note": f"Version {citation['version']}",
        "url": address,
    }
    key = re.sub(r"\W+", "-", page.rsplit("/", 1)[-1]).replace("_", "-")
    lines = [f"@incollection{{deep-state-space-models-{key},"]
    lines += [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([*lines, "}"])


def _escaped(text: str) -> str:
    return re.sub(r"([&%$#_])", r"\\\1", text)


def _append(app, pagename, templatename, context, doctree):
    if doctree is None:  # search and index are not pages of the book
        return
    citation = yaml.safe_load(Path(app.srcdir, "CITATION.cff").read_text(encoding="utf-8"))
    address = urljoin(app.config.html_baseurl, app.builder.get_target_uri(pagename))
    entry = bibtex(
        app.env.titles[pagename].astext(), address, pagename, app.config.copyright, citation
    )
    context["body"] += ELEMENT.format(entry=html.escape(entry))


def setup(app):
    app.connect("html-page-context", _append)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
