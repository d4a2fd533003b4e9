"""Draws docs/unmask.svg: four moments of a story while its tokens unmask. Run: python docs/unmask.py"""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from bowstring import ArrowEngine
from bowstring.text.pipeline import TextFrame

SEED = 7
engine = ArrowEngine.load()
frames = [
    frame
    for frame in engine.stream(
        "a story about a fox", max_tokens=96, block=16, order="entropy", steps=16, seed=SEED
    )
    if isinstance(frame, TextFrame)
]
console = Console(record=True, width=88, file=Path("/dev/null").open("w"))
for share in (0.1, 0.4, 0.7, 1.0):
    frame = min(frames, key=lambda frame, share=share: abs(frame.share - share))
    text = Text()
    for piece, sure in zip(engine.tokenizer.pieces(frame.tokens), frame.confidence, strict=True):
        colour = f"rgb({int(255 - 155 * sure)},{int(120 + 135 * sure)},120)"
        text.append(piece.replace("\n", " "), "grey42" if piece == "\u2591" else colour)
    console.print(f"[dim]after {frame.nfe} evaluations[/dim]")
    console.print(text, "")
TITLE = 'bowstring run "a story about a fox" --block 16 --steps 16 --order entropy'
console.save_svg("docs/unmask.svg", title=TITLE)
