"""The numbers of the page "Errata" are those that its code prints."""

import re

from tools import ROOT

PAGE = ROOT / "book" / "errata.md"


def test_the_code_of_the_page_prints_its_numbers(capsys):
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    exec(code, {})
    printed = dict(line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())
    table = re.findall(r"^\| .+? \| \$([+-]\d\.\d{4})\$ \|", text, re.MULTILINE)
    assert table == [printed["bound"], printed["Eq. 11"], printed["third line"]]
    assert f"= {printed['evidence']}$" in text
    assert f"= {printed['first KL term']}$ nats" in text
