"""Charts as SVG, coloured by the page's style sheet so that they follow its light and dark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from markupsafe import Markup

# Small, so that the page shows it larger than it is drawn, and words stay legible on a telephone.
WIDTH, HEIGHT = 420, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 40

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """One side of a chart.

    Attributes:
        label: what it shows.
        low: the value at its beginning.
        high: the value at its end.
        ticks: values with their words.
        scale: distances on the axis are those of scale(value).
    """

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    scale: Callable[[float], float] = float

    def share(self, value: float) -> float:
        """How far along the axis a value lies, from 0 to 1; beyond its ends, at the end."""
        low, high = self.scale(self.low), self.scale(self.high)
        return (self.scale(min(max(value, self.low), self.high)) - low) / (high - low)


class Chart:
    """A chart under construction. `kind` is the class of the style sheet that colours a mark.

    Args:
        x: the axis below.
        y: the axis at the left.
        title: what the chart shows, for those who cannot see it.
    """

    def __init__(self, x: Axis, y: Axis, title: str) -> None:
        self.x, self.y, self.title = x, y, title
        self._marks: list[str] = []

    def line(self, points: Sequence[Point], kind: str) -> None:
        """A line through the points."""
        placed: list[str] = []
        for point in points:
            here = "{:.1f} {:.1f}".format(*self._at(*point))
            if not placed or placed[-1] != here:
                placed.append(here)
        self._marks.append(f'<path class="line {kind}" d="M{"L".join(placed)}"/>')

    def steps(self, points: Sequence[Point], kind: str) -> None:
        """A line that keeps each point's y up to the next one's x."""
        corners = [points[0]]
        for before, after in pairwise(points):
            corners += [(after[0], before[1]), after]
        self.line(corners, kind)

    def vertical(self, x: float, kind: str) -> None:
        """A line from top to bottom."""
        self.line([(x, self.y.low), (x, self.y.high)], kind)

    def horizontal(self, y: float, kind: str) -> None:
        """A line from left to right."""
        self.line([(self.x.low, y), (self.x.high, y)], kind)

    def whisker(self, x: float, low: float, high: float, kind: str) -> None:
        """An interval, with caps."""
        left, top = self._at(x, high)
        bottom = self._at(x, low)[1]
        caps = f"M{left - 4:.1f} {top:.1f}h8M{left:.1f} {top:.1f}V{bottom:.1f}M{left - 4:.1f} {bottom:.1f}h8"
        self._marks.append(f'<path class="line {kind}" d="{caps}"/>')

    def dot(self, x: float, y: float, kind: str, said: str, shape: str = "circle", size: float = 4) -> None:
        """A mark, round or "triangle" or "ring", that says something when it is pointed at."""
        left, top = self._at(x, y)
        if shape == "triangle":
            drawn = f'<path d="M{left:.1f} {top - size - 1:.1f}l{size + 1} {2 * size}h-{2 * size + 2}z"'
        else:
            drawn = f'<circle cx="{left:.1f}" cy="{top:.1f}" r="{size}"'
        kind = f"{'ring' if shape == 'ring' else 'dot'} {kind}"
        self._marks.append(f'{drawn} class="{kind}"><title>{escape(said)}</title></{drawn[1:].split()[0]}>')

    def svg(self) -> Markup:
        """The chart, as an element of a page."""
        right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
        parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.title)}">']
        for value, words in self.y.ticks:
            top = self._at(self.x.low, value)[1]
            parts.append(f'<path class="grid" d="M{_LEFT} {top:.1f}H{right}"/>')
            parts.append(f'<text x="{_LEFT - 5}" y="{top + 3.5:.1f}" text-anchor="end">{escape(words)}</text>')
        for value, words in self.x.ticks:
            left = self._at(value, self.y.low)[0]
            parts.append(f'<path class="grid" d="M{left:.1f} {_TOP}V{bottom}"/>')
            parts.append(f'<text x="{left:.1f}" y="{bottom + 14}" text-anchor="middle">{escape(words)}</text>')
        middle = (_LEFT + right) / 2
        parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(self.x.label)}</text>')
        centre = (_TOP + bottom) / 2
        turned = f'transform="translate(12 {centre}) rotate(-90)" text-anchor="middle"'
        parts.append(f"<text {turned}>{escape(self.y.label)}</text>")
        parts.append(f'<path class="frame" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>')
        return Markup("\n".join([*parts, *self._marks, "</svg>"]))

    def _at(self, x: float, y: float) -> Point:
        left = _LEFT + self.x.share(x) * (WIDTH - _LEFT - _RIGHT)
        top = HEIGHT - _BOTTOM - self.y.share(y) * (HEIGHT - _TOP - _BOTTOM)
        return left, top


@dataclass(frozen=True)
class Key:
    """What a mark of a chart stands for.

    Attributes:
        kind: class of the style sheet.
        words: what it means.
        shape: "line", "circle", "triangle" or "ring".
    """

    kind: str
    words: str
    shape: str = "line"


@dataclass(frozen=True)
class Figure:
    """A chart as the page shows it.

    Attributes:
        svg: the drawing.
        keys: its legend.
        caption: what is to be seen.
    """

    svg: Markup
    keys: Sequence[Key]
    caption: str


def ticks(low: float, high: float) -> list[tuple[float, str]]:
    """About five round values between two ends."""
    raw = (high - low) / 5
    power = 10 ** _floor_log10(raw)
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= raw)
    first = -int(-low // step)
    return [(n * step, f"{n * step:.4g}") for n in range(first, int(high / step + 1e-9) + 1)]


def powers(low: float, high: float) -> list[tuple[float, str]]:
    """The powers of ten between two ends, at most some seven of them; 1, 2 and 5 times those where they are few."""
    exponents = range(_floor_log10(low), _floor_log10(high) + 1)
    every = max(1, -(-len(exponents) // 6))
    factors = (1, 2, 5) if len(exponents) < 3 else (1,)
    values = [factor * 10.0**exponent for exponent in exponents if exponent % every == 0 for factor in factors]
    return [(value, f"{value:g}") for value in values if low <= value <= high]


def _floor_log10(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])
