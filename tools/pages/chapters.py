"""Everything in words that names the chapters: `python -m tools.pages.chapters [--check]`.

Of _toc.yml and _config.yml the lines between their markers; for the pages of book/, the map with
its alternative text, and for each part its map and the table of its chapters.
"""

import sys
from collections.abc import Iterable

from tools import ROOT, generated, repository
from tools.chapters import PARTS, Chapter, chapters
from tools.generated import MADE

TOC, CONFIG = "_toc.yml", "_config.yml"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
CAPTION = "An arrow leads from a chapter to one that needs it."


def toc(found: list[Chapter]) -> str:
    """The parts in _toc.yml, each with its page and its chapters."""
    lines = []
    for number, part in enumerate(PARTS, 1):
        pages = [part.page, *(f"chapters/{c.file}" for c in found if c.part == number)]
        lines += [f"  - caption: {part.numeral}. {part.name}", "    numbered: false"]
        lines += ["    chapters:", *(f"      - file: {page}" for page in pages)]
    return "\n".join(lines)


def substitutions(found: list[Chapter]) -> str:
    """What {{ ch4 }} stands for, in _config.yml."""
    return "\n".join(
        f'    ch{c.number}: "[chapter {c.number}](../chapters/{c.file}.ipynb)"' for c in found
    )


def readme_part(found: list[Chapter]) -> str:
    """The table of the README: each chapter with the badge that opens it in Colab."""
    owner, name = repository.current()
    colab = f"https://colab.research.google.com/github/{owner}/{name}/blob/main/chapters"
    rows = [
        f"| {c.number} {c.title} | [![Open in Colab]({BADGE})]({colab}/{c.file}.ipynb) |"
        for c in found
    ]
    return "\n".join(["| chapter | |", "|---|---|", *rows])


def listed(numbers: Iterable[int]) -> str:
    """1, 2 and 3; empty for none."""
    words = [str(number) for number in numbers]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def followers(chapter: Chapter, found: list[Chapter]) -> str:
    """The numbers of the chapters that need this one."""
    return listed(other.number for other in found if chapter.number in other.needs)


def map_page(found: list[Chapter]) -> str:
    """The map of all chapters."""
    arrows = [f"from {c.number} to {to}" for c in found if (to := followers(c, found))]
    alt = (
        f"The chapters 1 to {len(found)} in {len(PARTS)} rows, one for each part. "
        f"Arrows lead {', '.join(arrows)}."
    )
    return (
        f"```{{figure}} made/map.svg\n:alt: {alt}\n:width: 100%\n:name: fig-map\n\n"
        f"The chapters. {CAPTION}\n```\n"
    )


def part_page(number: int, found: list[Chapter]) -> str:
    """The map with a part marked, and the table of its chapters."""
    numeral = PARTS[number - 1].numeral
    alt = f"The map of the book with part {numeral} marked."
    rows = ["| | what you take away | read it first if |", "|---|---|---|"]
    for c in found:
        if c.part == number:
            needs, to = listed(c.needs) or "none", followers(c, found) or "none"
            alt += f" Chapter {c.number} ({c.short}) needs {needs} and leads to {to}."
            name = f"{{{{ ch{c.number} }}}}: {c.title}"
            rows.append(f"| {name} ({c.minutes} minutes) | {c.gives} | {c.read_if} |")
    return (
        f"```{{figure}} made/map_part{number}.svg\n:alt: {alt}\n:width: 560px\n:align: center\n\n"
        f"Part {numeral}. {CAPTION}\n```\n\n" + "\n".join(rows) + "\n"
    )


def made() -> dict[str, str]:
    """The configuration, and what the pages include."""
    found = chapters()
    lines = {TOC: toc(found), CONFIG: substitutions(found)}
    texts = {f"{MADE}/part{k + 1}.md": part_page(k + 1, found) for k in range(len(PARTS))}
    texts |= {f"{MADE}/map.md": map_page(found)}
    return {
        path: generated.with_part(path, (ROOT / path).read_text(encoding="utf-8"), "chapters", part)
        for path, part in lines.items()
    } | {path: generated.note(path) + text for path, text in texts.items()}


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    return generated.command(made, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
