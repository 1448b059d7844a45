"""Reads a Whisper model in ggml's format with f16 weights, as scripts/get-model makes it.

The tensors have Whisper's names and shapes; whisper.cpp's own file and ours differ in the order only.
"""

import struct
from pathlib import Path

import numpy

MAGIC = 0x67676D6C
TYPES = {0: numpy.dtype("<f4"), 1: numpy.dtype("<f2")}


def read(path):
    """The header's eleven numbers, and name → values as float32."""
    data = Path(path).read_bytes()
    at = 0

    def numbers(form):
        nonlocal at
        found = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return found

    magic, *header = numbers("I11i")
    if magic != MAGIC:
        raise SystemExit(f"{path} is no model in ggml's format")
    mels, bins = numbers("2i")
    at += 4 * mels * bins
    for _ in range(numbers("i")[0]):
        (length,) = numbers("i")
        at += length
    tensors = {}
    while at < len(data):
        dims, length, kind = numbers("3i")
        shape = numbers(f"{dims}i")[::-1]
        name = data[at : at + length].decode()
        at += length
        if kind not in TYPES:
            raise SystemExit(f"{path} is quantised; the weights in f16 are needed")
        count = int(numpy.prod(shape))
        tensors[name] = numpy.frombuffer(data, TYPES[kind], count, at).reshape(shape).astype(numpy.float32)
        at += count * TYPES[kind].itemsize
    return header, tensors
