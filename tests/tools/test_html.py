"""The built site as files: links, headings, what search engines and other sites read of it,
buttons. Needs no browser.
"""

import functools
import re
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import urljoin
from xml.etree import ElementTree

import pytest
import yaml
from pybtex.database import parse_string

from pages import HTML, PAGES, needs_site, source
from tools import ROOT, links
from tools.sphinx import accessible, cite_this_page, self_contained, sitemap

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
BASE, REPOSITORY = CONFIG["html"]["baseurl"], CONFIG["repository"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
each_page = pytest.mark.parametrize("page", PAGES)


class Read(HTMLParser):
    """What the tests ask of a page: meta tags, links of the head, addresses, headings in the
    article, its BibTeX entry.
    """

    def __init__(self, page: str):
        super().__init__()
        self.meta, self.rel, self.headings, self.hrefs, self.entry = {}, {}, [], [], ""
        self._article, self._cite = 0, ""
        self.feed((HTML / f"{page}.html").read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        held = dict(attributes)
        if tag == "meta":
            self.meta[held.get("property") or held.get("name")] = held.get("content")
        elif tag == "link":
            self.rel[held.get("rel")] = held.get("href")
        elif tag == "a":
            self.hrefs.append(held.get("href"))
        elif tag == "article":
            self._article += 1
        elif tag == "details" and held.get("class") == "cite-page":
            self._cite = "details"
        elif tag == "pre" and self._cite:
            self._cite = "pre"
        elif self._article and re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        self._article -= tag == "article"
        if tag == self._cite == "pre":
            self._cite = ""

    def handle_data(self, data):
        if self._cite == "pre":
            self.entry += data


read = functools.cache(Read)


# ---------------------------------------------------------------- links


@needs_site
def test_no_link_within_the_site_is_dead():
    assert links.dead(HTML, links.pages(HTML)) == []


def test_dead_links_are_found(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="sub/b.html#there">b</a><a href="#here">a</a><a href="https://x.org#y">x</a>'
    )
    (tmp_path / "sub" / "b.html").write_text(
        '<h1 id="there"><a href="../a.html#gone">1</a><a href="c.html">2</a><a href="#">3</a>'
        '<img src="../d.png"><a href="//y.org">4</a>'
    )
    found = links.pages(tmp_path)
    assert links.dead(tmp_path, found) == [
        "sub/b.html: ../a.html#gone",
        "sub/b.html: c.html",
        "sub/b.html: ../d.png",
    ]
    assert links.external(found) == {"//y.org": ["sub/b.html"], "https://x.org#y": ["a.html"]}


@needs_site
def test_external_links_are_listed_without_asking_anyone(capsys):
    assert links.main([str(HTML)]) == 0
    assert f"{REPOSITORY['url']}  (" in capsys.readouterr().out


# ---------------------------------------------------------------- headings


@needs_site
@each_page
def test_headings_are_in_order(page):
    levels = read(page).headings
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below <= above + 1 for above, below in zip(levels, levels[1:])), levels


# ---------------------------------------------------------------- what others read of a page


@needs_site
@each_page
def test_open_graph_tags(page):
    meta = read(page).meta
    assert meta["og:title"] and meta["og:site_name"] == CONFIG["title"]
    assert meta["og:url"] == read(page).rel["canonical"] == f"{BASE}{page}.html"
    assert (
        40 <= len(meta["og:description"]) <= 220 and meta["description"] == meta["og:description"]
    )
    assert not re.search(r"\\[a-z]+|\$|%pip|import ", meta["og:description"]), (
        "code or TeX instead of the first paragraph"
    )
    assert (
        meta["og:image"].startswith(BASE) and (HTML / meta["og:image"].removeprefix(BASE)).is_file()
    )
    assert len(meta["og:image:alt"]) > 20


@needs_site
def test_sitemap_lists_every_page():
    root = ElementTree.parse(HTML / "sitemap.xml").getroot()
    assert {loc.text for loc in root.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")} == {
        f"{BASE}{page}.html" for page in PAGES
    }


def test_sitemap_escapes():
    (loc,) = ElementTree.fromstring(sitemap.sitemap(["https://x.org/?a&b"])).findall(".//{*}loc")
    assert loc.text == "https://x.org/?a&b"


@needs_site
@each_page
def test_favicon(page):
    assert (HTML / urljoin(f"{page}.html", read(page).rel["icon"])).read_bytes() == (
        ROOT / CONFIG["html"]["favicon"]
    ).read_bytes()


@needs_site
@each_page
def test_cite_this_page(page):
    (entry,) = parse_string(read(page).entry, "bibtex").entries.values()
    assert entry.fields["title"].replace("\\", "") == read(page).meta["og:title"]
    assert entry.fields["url"] == f"{BASE}{page}.html"
    assert (
        entry.fields["booktitle"] == CITATION["title"]
        and CITATION["version"] in entry.fields["note"]
    )
    assert entry.fields["year"] == CONFIG["copyright"]
    assert [str(person) for person in entry.persons["author"]] == [
        "{" + author["name"] + "}" for author in CITATION["authors"]
    ]


def test_citation_of_people_and_odd_characters():
    citation = {
        "authors": [{"family-names": "Rauch", "given-names": "H. E."}, {"name": "The & Co"}],
        "title": "A_b",
        "version": "1",
    }
    text = cite_this_page.bibtex(
        "100 % of R&D", "https://x.org/a_b.html", "book/a_b", "2026", citation
    )
    (entry,) = parse_string(text, "bibtex").entries.values()
    assert [person.last_names for person in entry.persons["author"]] == [
        ["Rauch"],
        [r"{The \& Co}"],
    ]
    assert entry.fields["title"] == r"100 \% of R\&D" and entry.fields["booktitle"] == r"A\_b"
    assert entry.fields["url"] == "https://x.org/a_b.html"


# ---------------------------------------------------------------- buttons


@needs_site
@each_page
def test_buttons_point_to_the_right_file(page):
    hrefs, file = read(page).hrefs, source(page).relative_to(ROOT).as_posix()
    assert f"{REPOSITORY['url']}/edit/{REPOSITORY['branch']}/{file}" in hrefs
    assert any(
        href and href.startswith(f"{REPOSITORY['url']}/issues/new?") and f"{page}.html" in href
        for href in hrefs
    )
    assert REPOSITORY["url"] in hrefs
    download = next(href for href in hrefs if href and "_sources/" in href)
    assert (HTML / urljoin(f"{page}.html", download)).read_bytes() == source(page).read_bytes(), (
        "not the page's own source"
    )
    if file.endswith(".ipynb"):
        path = REPOSITORY["url"].removeprefix("https://")
        assert (
            f"https://colab.research.google.com/{path.replace('github.com', 'github')}"
            f"/blob/{REPOSITORY['branch']}/{file}" in hrefs
        )


# ---------------------------------------------------------------- the local extensions


def test_tags_that_load_from_another_host_are_dropped():
    own = '<script src="a.js"></script><link rel="stylesheet" href="b.css"><a href="https://c.org">c</a>'
    foreign = '<script defer src="https://x.org/a.js"></script>'
    foreign += '<link href="//x.org/b.css" rel="stylesheet"/>'
    assert self_contained.without_foreign_tags(own + foreign) == own


def test_slider_of_an_animation_gets_a_name():
    context = {"body": '<input class="anim-slider" type="range">'}
    events = []
    accessible.setup(
        SimpleNamespace(connect=lambda event, handler: events.append((event, handler)))
    )
    ((event, handler),) = events
    handler(None, "page", "page.html", context, None)
    assert event == "html-page-context" and 'aria-label="Frame of the animation"' in context["body"]
