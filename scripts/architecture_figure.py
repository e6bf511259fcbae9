"""Draws EncT5 as SVG: python scripts/architecture_figure.py [FILE] (default: harness/enct5/architecture.svg)."""

import sys
from pathlib import Path
from xml.sax.saxutils import escape

FILE = Path(__file__).parent.parent / "harness/enct5/architecture.svg"
WIDTH, HEIGHT = 820, 500
INK, PALE = "#1f2933", "#6b7785"
FROM_T5, NEW, UNUSED = "#dbe9f6", "#fde3c4", "#ffffff"
TOKENS = ("a", "fine", "film", "</s>")
LABELS = ("joy", "love", "anger")


def text(x: float, y: float, content: str, size: int = 14, colour: str = INK, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">{escape(content)}</text>'


def box(x: float, y: float, width: float, height: float, *lines: str, fill: str = FROM_T5, dashed: bool = False) -> str:
    """A rounded rectangle at (x, y), with centred lines of text; the first is larger."""
    colour, dash = (PALE, ' stroke-dasharray="5 4"') if dashed else (INK, "")
    shape = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="{colour}"{dash}/>'
    first = y + height / 2 + 5 - 9 * (len(lines) - 1)
    rows = [text(x + width / 2, first + 18 * i, line, 12 if i else 14, colour) for i, line in enumerate(lines)]
    return "".join([shape, *rows])


def arrow(*points: tuple[float, float]) -> str:
    path = " ".join(f"{x},{y}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="1.5" marker-end="url(#head)"/>'


def encoder() -> list[str]:
    """The left column: the text, its word embeddings, the encoder."""
    parts = []
    for i, token in enumerate(TOKENS):
        x = 40 + 75 * i
        parts += [box(x, 420, 65, 32, token, fill=UNUSED), arrow((x + 32.5, 420), (x + 32.5, 392))]
    parts += [
        text(185, 474, "the text, as T5 reads it", 12, PALE),
        box(40, 350, 290, 38, "word embedding"),
        arrow((185, 350), (185, 322)),
        box(40, 160, 290, 158, "T5 encoder", "all layers, pretrained", "d_model numbers for every token"),
    ]
    return parts


def decoder() -> list[str]:
    """The right column: prompts, the decoder layer, heads and logits."""
    parts = []
    for i, label in enumerate(LABELS):
        x = 480 + 100 * i
        parts += [
            box(x, 404, 90, 48, "prompt", label, fill=NEW),
            arrow((x + 45, 404), (x + 45, 362)),
            arrow((x + 45, 160), (x + 45, 122)),
            box(x, 76, 90, 42, "head", label, fill=NEW),
            arrow((x + 45, 76), (x + 45, 50)),
            text(x + 45, 40, f"logit of {label}", 12),
        ]
    parts += [
        text(625, 474, "learned: one per label for multi-label,", 12, PALE),
        text(625, 490, "one in all for single-label and regression", 12, PALE),
        box(480, 160, 290, 198, fill=FROM_T5),
        text(625, 346, "T5 decoder: the first layer, pretrained", 12),
        box(500, 292, 250, 36, "self-attention, no causal mask", fill=UNUSED),
        box(500, 234, 250, 36, "attention to the text", fill=UNUSED),
        box(500, 176, 250, 36, "feed-forward", fill=UNUSED),
        arrow((625, 292), (625, 274)),
        arrow((625, 234), (625, 216)),
        arrow((330, 252), (496, 252)),
        text(413, 243, "keys and values", 12, PALE),
    ]
    return parts


def left_out() -> list[str]:
    """What a T5 has and EncT5 does not read, and the colours."""
    return [
        box(40, 76, 290, 48, "not read", "other decoder layers, language-model head", fill=UNUSED, dashed=True),
        f'<rect x="40" y="28" width="16" height="16" fill="{FROM_T5}" stroke="{INK}"/>',
        text(62, 41, "from the T5 checkpoint", 12, anchor="start"),
        f'<rect x="220" y="28" width="16" height="16" fill="{NEW}" stroke="{INK}"/>',
        text(242, 41, "new, to be fine-tuned", 12, anchor="start"),
    ]


def figure() -> str:
    """The whole picture."""
    head = (
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 L10 5 L0 10 z" fill="{INK}"/></marker></defs>'
    )
    title = "<title>EncT5: T5's encoder, one decoder layer that reads learned prompts, and a head</title>"
    canvas = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif">'
    )
    return "\n".join([opening, title, head, canvas, *encoder(), *decoder(), *left_out(), "</svg>", ""])


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    target.write_text(figure(), encoding="utf-8")
    print(target)
