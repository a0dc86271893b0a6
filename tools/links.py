"""The links of the built site. `make links` prints those that leave it; tests/tools/test_html.py
follows the others.

Needs nothing but Python, and never asks another host.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit


class Page(HTMLParser):
    """What one HTML file points to, and what in it can be pointed to."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        held = dict(attributes)
        self.anchors |= {held[name] for name in ("id", "name") if held.get(name)}
        link = held.get("href") if tag in {"a", "link"} else held.get("src")
        if link and held.get("rel") != "canonical":
            self.links.append(link)


def pages(site: Path) -> dict[str, Page]:
    """Every page of the site under its path. The theme's own files under _static are none."""
    files = (
        path
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.relative_to(site).parts
    )
    return {
        path.relative_to(site).as_posix(): Page(path.read_text(encoding="utf-8")) for path in files
    }


def external(found: dict[str, Page]) -> dict[str, list[str]]:
    """Every address on another host, with the pages that hold it."""
    links: dict[str, list[str]] = {}
    for name, page in found.items():
        for link in sorted(set(page.links)):
            if urlsplit(link).scheme in {"http", "https"} or link.startswith("//"):
                links.setdefault(link, []).append(name)
    return dict(sorted(links.items()))


def dead(site: Path, found: dict[str, Page]) -> list[str]:
    """Every link within the site whose file or #anchor does not exist, as `page: link`."""
    broken = []
    for name, page in found.items():
        for link in page.links:
            target = urlsplit(urljoin(name, link))
            if urlsplit(link).scheme or target.netloc:
                continue
            path, anchor = unquote(target.path).lstrip("/"), unquote(target.fragment)
            to = found.get(path or name)
            if not (to or (site / path).is_file()) or (to and anchor and anchor not in to.anchors):
                broken.append(f"{name}: {link}")
    return broken


def main(arguments: list[str]) -> int:
    links = external(pages(Path(arguments[0] if arguments else "_build/html")))
    for link, where in links.items():
        print(f"{link}  ({where[0]}{f' and {len(where) - 1} more' if where[1:] else ''})")
    print(f"{len(links)} external links")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
