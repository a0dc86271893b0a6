"""Write sitemap.xml: the address of every page of the book.

The extension sphinx-sitemap lists the pages that one build wrote, so after a second build that
changed one page its sitemap holds one page. This one lists the pages that the book has.
"""

from pathlib import Path
from urllib.parse import urljoin
from xml.etree import ElementTree


def sitemap(addresses: list[str]) -> bytes:
    """The sitemap (protocol 0.9) of these addresses."""
    root = ElementTree.Element("urlset", xmlns="http://www.sitemaps.org/schemas/sitemap/0.9")
    for address in addresses:
        ElementTree.SubElement(ElementTree.SubElement(root, "url"), "loc").text = address
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _write(app, exception):
    if exception is None and app.builder.format == "html":
        uris = (app.builder.get_target_uri(page) for page in sorted(app.env.found_docs))
        Path(app.outdir, "sitemap.xml").write_bytes(
            sitemap([urljoin(app.config.html_baseurl, uri) for uri in uris])
        )


def setup(app):
    app.connect("build-finished", _write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
