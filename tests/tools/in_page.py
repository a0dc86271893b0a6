"""What the browser tests run inside a page: each is one JavaScript function that returns what is
wrong, or prepares the page.
"""

from axe_playwright_python.base import AXE_SCRIPT as AXE  # noqa: F401  axe-core itself

# What a reader sees of an equation that was not typeset: TeX in the text outside code and typeset
# equations.
RAW_TEX = r"""() => {
  const raw = [];
  const article = document.querySelector('article') || document.body;
  const walker = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  const tex =
    /\\[()\[\]]|\$\$|\\(frac|mathbf|begin|end|sum|int|varphi|dot|text|mathcal|mathbb|log)\b/;
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.parentElement.closest('script, style, code, pre, mjx-container, textarea')) continue;
    if (tex.test(node.data) || /\{(numref|ref|eq|cite|doc)(:\w+)?\}/.test(node.data))
      raw.push(node.data.trim().slice(0, 120));
  }
  return raw;
}"""

# Images below the fold load lazily: load each once.
LOAD_IMAGES = """async () => {
  for (const image of document.images) {
    image.loading = 'eager';
    await image.decode().catch(() => {});
  }
}"""

# MathJax marks an error as merror, and writes a macro it does not know in red.
BAD_MATHS = """() => [
  ...document.querySelectorAll('mjx-merror, [data-mjx-error], mjx-mtext[style*="color: red"]')
].map(e => e.textContent)"""

BROKEN_IMAGES = """() => [...document.images]
  .filter(i => i.getClientRects().length && !i.naturalWidth).map(i => i.src.slice(0, 200))"""

UNNAMED_IMAGES = """() => [...document.querySelectorAll('article img, .bd-article img')]
  .filter(i => !i.alt.trim() || /\\.(png|svg|jpe?g|gif)$/.test(i.alt))
  .map(i => i.outerHTML.slice(0, 200))"""

# Solutions and boxes that a click opens are open, so that what is in them is judged too.
OPEN_ALL = """() => {
  document.querySelectorAll('details').forEach(e => { e.open = true; });
  document.querySelectorAll('.toggle-button-hidden').forEach(e => e.click());
}"""

# axe-core judges the contrast of every piece of text. One of a kind is enough for equations and for
# the tokens of code and
# signatures: a page has thousands of them in a dozen colours.
THIN_OUT = """() => {
  document.querySelectorAll('mjx-container').forEach(e => e.replaceChildren('x'));
  const kept = new Map();
  for (let depth = 0; depth < 3; depth++) {
    for (const e of document.querySelectorAll('pre span, dt span, dt em, dt a, td .pre, td code')) {
      if (e.children.length) continue;
      const behind = getComputedStyle(e.closest('pre, dt, td')).backgroundColor;
      const kind = [e.tagName, e.className, e.parentElement.className, behind].join('|');
      if (!kept.has(kind)) kept.set(kind, e);
      else if (kept.get(kind) !== e) e.replaceWith(e.textContent);
    }
  }
}"""

# The theme looks for boxes that scroll 300 ms after the last change of the window's size.
SETTLE = """() => new Promise(done =>
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 400))))"""

SET_MODE = """mode => {
  document.documentElement.dataset.mode = mode;
  document.documentElement.dataset.theme = mode;
}"""

# Serious and critical findings of axe-core, among them the contrasts of WCAG AA; and headings out
# of order.
VIOLATIONS = """() => axe.run({resultTypes: ['violations'], preload: false})
  .then(result => result.violations
  .filter(v => ['serious', 'critical'].includes(v.impact) || v.id === 'heading-order')
  .flatMap(v => v.nodes.map(n =>
    `${v.id}: ${n.target[0]}: ${[...n.any, ...n.all, ...n.none].map(c => c.message)[0]}`)))"""
