"""Make the built site self-contained: no page loads anything from another host.

The theme and its extensions put tags for scripts, styles and images of content delivery networks on
every page. Nothing in the book needs them: MathJax is served from the site itself, and widgets have
a rendered counterpart. This extension drops those tags and points the Colab badge of the notebooks
to the site's own copy. Ordinary links stay.
"""

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


def _kept(assets: list) -> list:
    """`assets` without those of other hosts, those of Thebe (which the book does not use), and
    inline scripts said twice.
    """
    kept, bodies = [], set()
    for asset in assets:
        name = str(getattr(asset, "filename", asset) or "")
        body = getattr(asset, "attributes", {}).get("body")
        if _FOREIGN.match(name) or "thebe" in name or "THEBE" in (body or "") or body in bodies:
            continue
        if body:
            bodies.add(body)
        kept.append(asset)
    return kept


def _clean_page(app, pagename, templatename, context, doctree):
    for key in ("script_files", "css_files"):
        context[key] = _kept(context.get(key, []))
    for key in ("body", "metatags"):
        if context.get(key):
            context[key] = without_foreign_tags(context[key])
    if context.get("body"):
        context["body"] = context["body"].replace(
            COLAB_BADGE, context["pathto"]("_static/colab-badge.svg", 1)
        )


def setup(app):
    app.connect(
        "html-page-context", _clean_page, priority=900
    )  # after every extension that adds tags
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
