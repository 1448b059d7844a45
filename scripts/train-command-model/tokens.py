"""GPT-2's byte pairs, which Whisper's English models write with."""

import base64
import re
from functools import lru_cache

import places

PIECES = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+")


@lru_cache(1)
def ranks():
    """bytes → token, in the order of the vocabulary."""
    pairs = (line.split() for line in (places.ASSETS / "gpt2.tiktoken").read_bytes().splitlines() if line)
    return {base64.b64decode(piece): int(rank) for piece, rank in pairs}


@lru_cache(100_000)
def piece_tokens(piece):
    parts = [bytes([byte]) for byte in piece.encode()]
    while len(parts) > 1:
        best = min(range(len(parts) - 1), key=lambda i: ranks().get(parts[i] + parts[i + 1], 1 << 30))
        joined = parts[best] + parts[best + 1]
        if joined not in ranks():
            break
        parts[best : best + 2] = [joined]
    return tuple(ranks()[part] for part in parts)


def encode(text):
    return [token for piece in PIECES.findall(text) for token in piece_tokens(piece)]
