"""Mend what other tools write into the pages and a screen reader cannot use.

matplotlib's animation player has a slider without a name; docutils puts bibliography entries into a
list with a role that is no longer a list item.
"""

MENDED = {
    'class="anim-slider"': 'class="anim-slider" aria-label="Frame of the animation"',
    'role="doc-biblioentry"': 'role="listitem"',
}


def mended(html: str) -> str:
    """`html` with names and roles that a screen reader understands."""
    for bad, good in MENDED.items():
        html = html.replace(bad, good)
    return html


def _mend(app, pagename, templatename, context, doctree):
    if context.get("body"):
        context["body"] = mended(context["body"])


def setup(app):
    app.connect("html-page-context", _mend)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
