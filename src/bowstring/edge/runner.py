"""What an exported folder does: `python FOLDER write PROMPT` and `python FOLDER say TEXT -o FILE.wav`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..speech.utterance import SpeechSampling
from ..text.native import write
from ..text.options import MAX_TOKENS, Sampling
from ..text.tokenizer import EOS, KINDS, SEP, TextTokenizer
from ..weights.layout import TOKENIZER
from .bpe import BPE
from .model import EdgeModel
from .speech import EdgeSpeech


def written(folder: Path, prompt: str, kind: str, how: Sampling) -> str:
    """The text that the folder's model of text writes.

    Raises:
        ValueError: a prompt that leaves no room.
    """
    model, tokenizer = EdgeModel(folder / "text"), TextTokenizer(BPE.load(folder / TOKENIZER))  # type: ignore[arg-type]
    known = [KINDS[kind], *tokenizer.encode(prompt), SEP]
    if len(known) + 32 > model.context:
        raise ValueError(f"the prompt has {len(known)} tokens, the context {model.context}; shorten it")
    tokens = [one.token for one in write(model.text_decoder(), known, how, model.context, 0)]
    return tokenizer.to_bytes(token for token in tokens if token != EOS).decode("utf-8", "replace")


def asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Writes and speaks; needs numpy and nothing else.")
    commands = parser.add_subparsers(dest="command", required=True)
    text = commands.add_parser("write", help="a story, or with --kind code a function")
    text.add_argument("prompt")
    text.add_argument("--kind", choices=[*KINDS], default="text")
    text.add_argument("--max-tokens", type=int, default=MAX_TOKENS)
    text.add_argument("--temperature", type=float, default=0.7)
    speech = commands.add_parser("say", help="a text, as a WAV file")
    speech.add_argument("text")
    speech.add_argument("-o", "--out", type=Path, required=True)
    speech.add_argument("--steps", type=int, default=8)
    speech.add_argument("--speed", type=float, default=1.0)
    for one in (text, speech):
        one.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(folder: Path, arguments: Sequence[str] | None = None) -> None:
    """Runs a command; a mistake is one sentence and exit code 2."""
    given = asked(arguments)
    try:
        if given.command == "write":
            how = Sampling("auto", given.max_tokens, temperature=given.temperature, seed=given.seed)
            print(written(folder, given.prompt, given.kind, how))
        else:
            spoken = EdgeSpeech(folder / "speech", folder / "g2p").say(
                given.text, SpeechSampling(given.steps, given.speed, given.seed)
            )
            spoken.save(given.out)
            print(f"{spoken} in {given.out}", file=sys.stderr)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
