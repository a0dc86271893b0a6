"""Everything behind `make` that is no part of the package. Run from the root:
`python -m tools.pages.study`.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
