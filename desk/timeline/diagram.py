"""A saga drawn as SVG on the server: the way forward on one line, the way back beside it.

Lying for wide pages, upright for narrow ones; style sheets show the one that fits. A state has a color, a sign and a
word, so that none of them is needed. Whoever hears the page is told the whole of it in words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from desk.timeline.picture import Box, Mark, Picture

WIDTH, HEIGHT = 172, 78
GAP, LANE_GAP = 30, 44
MARGIN = 6
# What fits into a box, in characters.
LONGEST = 24

# The sign of each state, drawn in a square of 12.
_CHECK = "M1.5 6.5 4.5 10 10.5 2.5"
_SIGNS = {
    Mark.IDLE: "M2 6h8",
    Mark.RUNNING: "M3 1.5 10.5 6 3 10.5z",
    Mark.DONE: _CHECK,
    Mark.FAILED: "M2 2 10 10M10 2 2 10",
    Mark.UNKNOWN: "M3 4a3 3 0 1 1 4 2.6c-.8.4-1 .8-1 1.6M6 10.6v.4",
    Mark.STUCK: "M6 1v6.5M6 10.4v.6",
    Mark.SKIPPED: "M1.5 2 5.5 6 1.5 10M6.5 2 10.5 6 6.5 10",
    Mark.RESOLVED: "M2 10 2.6 7.4 8.6 1.4 10.6 3.4 4.6 9.4z",
    Mark.UNDOING: "M4 2 1.5 4.5 4 7M2 4.5h5a3 3 0 0 1 0 6H5",
    Mark.UNDONE: "M4 2 1.5 4.5 4 7M2 4.5h5a3 3 0 0 1 0 6H5",
    Mark.TO_UNDO: "M6 2v4l2.5 2M6 .8a5.2 5.2 0 1 0 .1 0",
    Mark.SPARED: "M2 6h8",
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a box stands."""

    x: float
    y: float

    @property
    def left(self) -> tuple[float, float]:
        return self.x, self.y + HEIGHT / 2

    @property
    def right(self) -> tuple[float, float]:
        return self.x + WIDTH, self.y + HEIGHT / 2

    @property
    def top(self) -> tuple[float, float]:
        return self.x + WIDTH / 2, self.y

    @property
    def bottom(self) -> tuple[float, float]:
        return self.x + WIDTH / 2, self.y + HEIGHT


def draw(picture: Picture, *, name: str, is_upright: bool = False) -> SafeString:
    """Return the diagram. `name` makes the ids in it unique on the page."""
    return _Drawing(picture, is_upright).svg(f"{name}-{'upright' if is_upright else 'lying'}")


class _Drawing:
    """Boxes on a grid: along the saga's way one axis, forward and back the other."""

    def __init__(self, picture: Picture, is_upright: bool) -> None:
        self._picture = picture
        self._is_upright = is_upright
        self._forward: list[list[tuple[Box, _Place]]] = []
        self._backward: list[list[tuple[Box | None, _Place]]] = []
        sizes = [len(column.forward) for column in picture.columns]
        lane = max(sizes, default=1) * (HEIGHT + GAP) - GAP + LANE_GAP
        # The first cells: what started the saga, and what closes it on the way back.
        along = MARGIN + (HEIGHT + GAP if is_upright else WIDTH + GAP)
        for column in picture.columns:
            forward, backward = [], []
            for row, (box, undo) in enumerate(zip(column.forward, column.backward, strict=True)):
                across = row * (HEIGHT + GAP)
                if is_upright:
                    here, back = _Place(MARGIN, along + across), _Place(MARGIN + WIDTH + GAP, along + across)
                else:
                    here, back = _Place(along, MARGIN + across), _Place(along, MARGIN + lane + across)
                forward.append((box, here))
                backward.append((undo, back))
            self._forward.append(forward)
            self._backward.append(backward)
            along += len(column.forward) * (HEIGHT + GAP) if is_upright else WIDTH + GAP
        self._start = _Place(MARGIN, MARGIN)
        self._close = _Place(MARGIN + WIDTH + GAP, MARGIN) if is_upright else _Place(MARGIN, MARGIN + lane)
        if is_upright:
            self._size = (2 * MARGIN + 2 * WIDTH + GAP, along - GAP + MARGIN)
        else:
            self._size = (along - GAP + MARGIN, 2 * MARGIN + 2 * lane - LANE_GAP)

    def svg(self, name: str) -> SafeString:
        """Return the whole drawing."""
        parts = [*self._lines(), self._began(), *self._boxes()]
        return format_html(
            '<svg class="desk-saga {}" viewBox="0 0 {} {}" role="img" aria-labelledby="{}-title {}-desc" '
            'xmlns="http://www.w3.org/2000/svg"><title id="{}-title">{}</title><desc id="{}-desc">{}</desc>{}</svg>',
            "desk-saga-upright" if self._is_upright else "desk-saga-lying",
            *(_number(side) for side in self._size),
            name,
            name,
            name,
            self._picture.title,
            name,
            self._picture.description,
            _joined(parts),
        )

    def _lines(self) -> Iterator[SafeString]:
        before = [self._start]
        for group in self._forward:
            here = [place for _, place in group]
            for one in before:
                for other in here:
                    is_passed = any(box.mark is not Mark.IDLE for box, place in group if place is other)
                    yield self._arrow(one, other, "desk-way" if is_passed else "desk-way desk-way-idle")
            before = here
        for forward, backward in zip(self._forward, self._backward, strict=True):
            for (_, place), (undo, back) in zip(forward, backward, strict=True):
                if undo is not None:
                    yield self._turn(place, back, is_taken=_is_begun(undo))
        yield from self._way_back()

    def _way_back(self) -> Iterator[SafeString]:
        groups = [[(box, place) for box, place in group if box is not None] for group in self._backward]
        present = [group for group in groups if group]
        for nearer, farther in pairwise(present):
            for undo, place in farther:
                for other, target in nearer:
                    yield self._arrow(place, target, _back(undo, other), is_back=True)
        if present and self._picture.closing is not None:
            for undo, place in present[0]:
                yield self._arrow(place, self._close, _back(undo, self._picture.closing), is_back=True)

    def _arrow(self, one: _Place, other: _Place, style: str, *, is_back: bool = False) -> SafeString:
        if self._is_upright:
            start, end = (one.top, other.bottom) if is_back else (one.bottom, other.top)
        else:
            start, end = (one.left, other.right) if is_back else (one.right, other.left)
        return _line(start, end, style)

    def _turn(self, place: _Place, back: _Place, *, is_taken: bool) -> SafeString:
        start, end = (place.right, back.left) if self._is_upright else (place.bottom, back.top)
        return _line(start, end, "desk-turn" if is_taken else "desk-turn desk-way-idle")

    def _began(self) -> SafeString:
        middle = self._start.y + HEIGHT / 2
        return format_html(
            '<g class="desk-began"><rect x="{}" y="{}" width="{}" height="{}" rx="22"/>'
            '<text class="desk-box-word" x="{}" y="{}" text-anchor="middle">began with</text>'
            '<text class="desk-box-name" x="{}" y="{}" text-anchor="middle">{}</text></g>',
            _number(self._start.x),
            _number(middle - 22),
            WIDTH,
            44,
            _number(self._start.x + WIDTH / 2),
            _number(middle - 4),
            _number(self._start.x + WIDTH / 2),
            _number(middle + 13),
            _short(self._picture.started_by or "an event"),
        )

    def _boxes(self) -> Iterator[SafeString]:
        for group in self._forward:
            for box, place in group:
                yield _drawn(box, place)
        for back in self._backward:
            for undo, place in back:
                if undo is not None:
                    yield _drawn(undo, place)
        if self._picture.closing is not None:
            yield _drawn(self._picture.closing, self._close)


def _drawn(box: Box, place: _Place) -> SafeString:
    x, y = place.x, place.y
    pivot = (
        format_html('<text class="desk-box-note" x="{}" y="{}" text-anchor="end">pivot</text>', x + WIDTH - 10, y + 58)
        if box.is_pivot and not box.note
        else ""
    )
    return format_html(
        '<g class="desk-box desk-{}{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="6"/>'
        '<text class="desk-box-name" x="{}" y="{}">{}</text>'
        '<path class="desk-sign" transform="translate({} {})" d="{}"/>'
        '<text class="desk-box-word" x="{}" y="{}">{}</text>'
        '<text class="desk-box-note" x="{}" y="{}">{}</text>{}</g>',
        box.mark.name.lower().replace("_", "-"),
        " desk-pivot" if box.is_pivot else "",
        box.sentence,
        _number(x),
        _number(y),
        WIDTH,
        HEIGHT,
        _number(x + 10),
        _number(y + 21),
        _short(box.name),
        _number(x + 10),
        _number(y + 31),
        _SIGNS[box.mark],
        _number(x + 28),
        _number(y + 41),
        box.mark.value,
        _number(x + 10),
        _number(y + 62),
        _short(box.note),
        pivot,
    )


def _is_begun(undo: Box) -> bool:
    return undo.mark not in (Mark.IDLE, Mark.SPARED, Mark.TO_UNDO)


def _back(undo: Box, target: Box) -> str:
    return "desk-way desk-way-back" if _is_begun(undo) and _is_begun(target) else "desk-way desk-way-idle"


def _line(start: tuple[float, float], end: tuple[float, float], style: str) -> SafeString:
    """Return a line with the head of an arrow at its end."""
    (x1, y1), (x2, y2) = start, end
    length = max(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 1.0)
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    tip = (x2 - dx, y2 - dy)
    wings = [(tip[0] - 7 * dx - 4 * dy * side, tip[1] - 7 * dy + 4 * dx * side) for side in (1, -1)]
    head = f"M{_point(wings[0])}L{_point(tip)}L{_point(wings[1])}"
    return format_html('<path class="{}" d="M{}L{}{}"/>', style, _point(start), _point(tip), head)


def _point(point: tuple[float, float]) -> str:
    return f"{_number(point[0])} {_number(point[1])}"


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _joined(parts: Sequence[SafeString]) -> SafeString:
    return format_html_join("", "{}", ((part,) for part in parts))
