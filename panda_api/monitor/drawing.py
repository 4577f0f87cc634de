"""Where the boxes of a drawing stand: columns from left to right, arrows as curves. Units are an SVG's own."""

from collections import defaultdict
from dataclasses import dataclass

from panda_api.monitor.charts import Drawing, Node

WIDTH, HEIGHT, GAP_X, GAP_Y, EDGE = 252, 46, 60, 14, 8
LETTERS = 34


@dataclass(frozen=True, slots=True)
class Box:
    """A node with its place and a title that fits."""

    node: Node
    x: int
    y: int
    title: str


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A drawing with places: its size, boxes, and the arrows as SVG paths."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    arrows: tuple[str, ...]


def laid_out(drawing: Drawing) -> LaidOut:
    """Give every box a place: columns are centred beside each other."""
    columns: dict[int, list[Node]] = defaultdict(list)
    for node in drawing.nodes:
        columns[node.column].append(node)
    tallest = max((len(found) for found in columns.values()), default=1)
    height = tallest * (HEIGHT + GAP_Y) - GAP_Y + 2 * EDGE
    boxes: dict[str, Box] = {}
    for place, column in enumerate(sorted(columns)):
        nodes = columns[column]
        top = (height - len(nodes) * (HEIGHT + GAP_Y) + GAP_Y) // 2
        for row, node in enumerate(nodes):
            x, y = EDGE + place * (WIDTH + GAP_X), top + row * (HEIGHT + GAP_Y)
            boxes[node.key] = Box(node, x, y, _short(node.title))
    arrows = tuple(_arrow(boxes[start], boxes[end]) for start, end in drawing.edges if start in boxes and end in boxes)
    width = len(columns) * (WIDTH + GAP_X) - GAP_X + 2 * EDGE
    return LaidOut(max(width, WIDTH), height, tuple(boxes.values()), arrows)


def _short(title: str) -> str:
    """Keep the two ends of a long title: names of datasets differ in both."""
    if len(title) <= LETTERS:
        return title
    half = LETTERS // 2 - 1
    return f"{title[:half]}…{title[-half - 1 :]}"


def _arrow(start: Box, end: Box) -> str:
    x1, y1 = start.x + WIDTH, start.y + HEIGHT // 2
    x2, y2 = end.x - 6, end.y + HEIGHT // 2
    bend = max((x2 - x1) // 2, 20)
    return f"M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"
