"""One HTML page about a guard: what it forgets and keeps, how surely, how strongly, and at what price.

The page stands alone (no network, no scripts) and states only what was measured.

| file | what it holds |
|---|---|
| `page` | the call, `write_report`, which fills `data/report.html.jinja` |
| `examples` | answers before and after |
| `detection`, `strength`, `trade` | the three kinds of charts |
| `chart` | lines and dots as SVG |
"""

from .examples import Example, Piece, ask
from .page import WrittenReport, write_report

__all__ = ["Example", "Piece", "WrittenReport", "ask", "write_report"]
