"""Print the lowest versions that pyproject.toml declares, as requirements for pip.

`python -m tools.lowest` prints `name==lowest` for every dependency of the package, then what these
old versions need beside them, then the extra `test` as it is declared: its tools may be new.
`make test-lowest` installs all of it.
"""

import re
import sys
import tomllib

from tools import ROOT

# Younger than the lowest versions, and at odds with them: matplotlib 3.10.0 calls names of
# pyparsing that warn from 3.3 on, and a figure that warns fails its test.
COMPANIONS = ["pyparsing<3.3"]


def pin(requirement: str) -> str:
    """The pin `name==lowest` of a requirement `name>=lowest`, which may go on with other bounds.

    Raises:
        ValueError: no lower bound stands right after the name.
    """
    match = re.fullmatch(r"([\w.-]+)>=([\w.]+)(,.*)?", requirement.replace(" ", ""))
    if match is None:
        raise ValueError(f"expected a dependency of the form name>=version, got {requirement!r}")
    name, version, _ = match.groups()
    return f"{name}=={version}"


def lowest(project: dict) -> list[str]:
    """The dependencies of the table `[project]` of pyproject.toml, pinned; `COMPANIONS`; the tests.

    Raises:
        ValueError: a dependency has no lower bound.
    """
    pins = [pin(requirement) for requirement in project["dependencies"]]
    return pins + COMPANIONS + project["optional-dependencies"]["test"]


if __name__ == "__main__":
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    try:
        print(*lowest(pyproject["project"]), sep="\n")
    except ValueError as error:
        sys.exit(f"error: {error}")
