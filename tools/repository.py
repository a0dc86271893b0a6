"""Write another repository address everywhere it occurs.
`make repository URL=https://github.com/OWNER/NAME` calls this.

pyproject.toml ([project.urls] Repository) holds the address; notebooks, pages and configuration
hold copies, because Colab, GitHub and Sphinx read them without running anything of ours. Needs
nothing but Python.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from tools import ROOT

SUFFIXES = {
    ".ipynb",
    ".md",
    ".yml",
    ".yaml",
    ".toml",
    ".cff",
    ".py",
    ".cfg",
    ".bib",
    ".txt",
    ".css",
    ".svg",
    ".html",
}
SKIP = {
    ".git",
    ".venv",
    ".venv-lowest",
    "venv",
    "_build",
    "runs",
    "build",
    "dist",
    "__pycache__",
    ".pytest_cache",
    ".ruff_cache",
    ".mypy_cache",
    "htmlcov",
    ".hypothesis",
    ".ipynb_checkpoints",
}
_ADDRESS = re.compile(
    r"https://github\.com/([A-Za-z0-9](?:-?[A-Za-z0-9]){0,38})/([A-Za-z0-9._-]{1,100})"
)
_HELD = re.compile(r'^Repository\s*=\s*"([^"]*)"', re.MULTILINE)


def parse(url: str) -> tuple[str, str]:
    """Owner and name of a GitHub address. Raises ValueError, with what was expected, for anything
    else.
    """
    match = _ADDRESS.fullmatch(url.strip().rstrip("/").removesuffix(".git"))
    if not match or match[2] in {".", ".."}:
        raise ValueError(
            "expected URL=https://github.com/OWNER/NAME (Colab opens notebooks from GitHub only), "
            f"got {url!r}"
        )
    return match[1], match[2]


def current(root: Path = ROOT) -> tuple[str, str]:
    """Owner and name of the address that pyproject.toml holds."""
    held = _HELD.search((root / "pyproject.toml").read_text(encoding="utf-8"))
    if not held:
        raise ValueError("pyproject.toml holds no Repository address under [project.urls]")
    return parse(held[1])


def files(root: Path = ROOT) -> list[Path]:
    """Every text file of the project in which the address may occur."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIP and not f.endswith(".egg-info"))
        found += [Path(folder, name) for name in sorted(names) if Path(name).suffix in SUFFIXES]
    return found


def rewrite(url: str, root: Path = ROOT) -> list[Path]:
    """Replace the current address by `url` in every file under `root`; return the files that
    changed.
    """
    (old_owner, old_name), (owner, name) = current(root), parse(url)
    end = r"(?![A-Za-z0-9_-]|\.(?!git\b)[A-Za-z0-9])"  # a longer name is another repository
    pattern = re.compile(
        rf"(?P<code>github(?:\.com)?/{re.escape(old_owner)}/{re.escape(old_name)}{end})"
        rf"|(?P<site>(?<![A-Za-z0-9-]){re.escape(old_owner)}\.github\.io/{re.escape(old_name)}{end})"
    )

    def new(match: re.Match) -> str:
        if match["site"]:
            return f"{owner}.github.io/{name}"
        return f"{match['code'].split('/')[0]}/{owner}/{name}"

    changed = []
    for path in files(root):
        before = path.read_bytes()
        after = pattern.sub(new, before.decode("utf-8")).encode("utf-8")
        if after != before:
            path.write_bytes(after)
            changed.append(path)
    return changed


def main(arguments: list[str]) -> int:
    try:
        if len(arguments) != 1 or not arguments[0]:
            raise ValueError("say which address: make repository URL=https://github.com/OWNER/NAME")
        changed = rewrite(arguments[0])
    except (ValueError, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    for path in changed:
        print(path.relative_to(ROOT))
    print(f"{len(changed)} files changed; the address is https://github.com/{'/'.join(current())}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
