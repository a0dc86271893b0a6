"""Make the built site self-contained: no page loads anything from another host.

The theme and its extensions put tags for scripts, styles and images of content delivery networks on every page. Nothing in
the book needs them: MathJax is served from the site itself, and widgets have a rendered counterpart. This extension drops
those tags and points the Colab badge of the notebooks to the site's own copy. Ordinary links stay.
"""

from __future__ import annotations

import re

COLAB_BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
_FOREIGN = re.compile(r"^(https?:)?//")
_SCRIPT_OR_LINK = re.compile(
    r"""<script\b[^>]*\bsrc=["'](?:https?:)?//[^"']*["'][^>]*>\s*</script>"""
    r"""|<link\b(?=[^>]*\brel=["'](?:stylesheet|preconnect|dns-prefetch|preload|modulepreload)["'])[^>]*\bhref=["'](?:https?:)?//[^"']*["'][^>]*/?>""",
    re.IGNORECASE,
)


def without_foreign_tags(html: str) -> str:
    """`html` without script and stylesheet tags that load from another host."""
    return _SCRIPT_OR_LINK.sub("", html)


def _is_foreign(asset) -> bool:
    return bool(_FOREIGN.match(str(getattr(asset, "filename", asset) or "")))


def _clean_page(app, pagename, templatename, context, doctree):
    for key in ("script_files", "css_files"):
        context[key] = [asset for asset in context.get(key, []) if not _is_foreign(asset)]
    for key in ("body", "metatags"):
        if context.get(key):
            context[key] = without_foreign_tags(context[key])
    if context.get("body"):
        context["body"] = context["body"].replace(COLAB_BADGE, context["pathto"]("_static/colab-badge.svg", 1))


def setup(app):
    app.connect("html-page-context", _clean_page, priority=900)  # after every extension that adds tags
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
