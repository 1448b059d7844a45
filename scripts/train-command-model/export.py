"""Writes a checkpoint as a ggml file for whisper.cpp.

    export.py CHECKPOINT FILE [--type q4_0|q8_0|f16] [--start FILE --share S]

The layers and the token embedding are q4_0 or q8_0 (blocks of 32 with one f16 scale) or f16; convolutions are f16; norms,
biases and positional embeddings f32. Order of the file: header, mel filters, vocabulary, tensors. With --share, each weight
is so much of the checkpoint's and the rest of that which the training started from (the model of --start).
"""

import argparse
import struct
from pathlib import Path

import numpy
import torch

import sound
import tokens
from model import from_ggml, rebuild
from weights import MAGIC

F32, F16, Q4_0, Q8_0 = 0, 1, 2, 8  # ggml's types of a tensor
# The header's number for the type of most tensors; thousands are the version of ggml's quantisation.
FILE_TYPES = {"f16": 1, "q4_0": 2002, "q8_0": 2007}


def q8_0(values):
    """Blocks of 32 along the last dimension: the scale as f16, then 32 signed bytes."""
    blocks = values.astype(numpy.float32).reshape(-1, 32)
    scale = numpy.abs(blocks).max(axis=1, keepdims=True) / 127
    steps = numpy.round(numpy.divide(blocks, scale, out=numpy.zeros_like(blocks), where=scale > 0))
    out = numpy.empty((len(blocks), 34), numpy.uint8)
    out[:, :2] = scale.astype(numpy.float16).view(numpy.uint8)
    out[:, 2:] = steps.astype(numpy.int8).view(numpy.uint8)
    return out.tobytes()


def q4_0(values):
    """Blocks of 32: the scale as f16, then 16 bytes of two numbers between -8 and 7."""
    blocks = values.astype(numpy.float32).reshape(-1, 32)
    largest = numpy.take_along_axis(blocks, numpy.abs(blocks).argmax(axis=1)[:, None], axis=1)
    scale = largest / -8
    steps = numpy.divide(blocks, scale, out=numpy.zeros_like(blocks), where=scale != 0)
    steps = numpy.minimum(15, (steps + 8.5).astype(numpy.uint8))
    out = numpy.empty((len(blocks), 18), numpy.uint8)
    out[:, :2] = scale.astype(numpy.float16).view(numpy.uint8)
    out[:, 2:] = steps[:, :16] | (steps[:, 16:] << 4)
    return out.tobytes()


QUANTISED = {"q4_0": (Q4_0, q4_0), "q8_0": (Q8_0, q8_0)}


def tensors_of(model):
    """(name, values) of exactly the tensors that whisper.cpp requires."""
    for name, values in model.state_dict().items():
        values = values.detach().numpy().astype(numpy.float32)
        if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
            values = values[:, None]
        yield name, values


def write_tensor(file, name, values, matrices):
    if values.ndim == 3:
        kind, data = F16, values.astype(numpy.float16).tobytes()
    elif values.ndim == 2 and name.endswith(".weight"):
        kind, quantise = QUANTISED.get(matrices, (F16, lambda plain: plain.astype(numpy.float16).tobytes()))
        data = quantise(values)
    else:
        kind, data = F32, values.tobytes()
    title = name.encode()
    file.write(struct.pack("<3i", values.ndim, len(title), kind))
    file.write(struct.pack(f"<{values.ndim}i", *reversed(values.shape)))
    file.write(title)
    file.write(data)


def export(model, path, matrices):
    shape = model.shape
    header = [shape.vocabulary, shape.audio_ctx, shape.state, shape.head, shape.audio_layer]
    header += [shape.text_ctx, shape.state, shape.head, shape.text_layer, shape.n_mels, FILE_TYPES[matrices]]
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        file.write(struct.pack("<I11i", MAGIC, *header))
        filters = sound.mel_filters()
        file.write(struct.pack("<2i", *filters.shape))
        file.write(filters.tobytes())
        vocabulary = list(tokens.ranks())
        file.write(struct.pack("<i", len(vocabulary)))
        for piece in vocabulary:
            file.write(struct.pack("<i", len(piece)) + piece)
        for name, values in tensors_of(model):
            write_tensor(file, name, values, matrices)
    partial.replace(path)


def blended(model, start, share):
    """So much of a model, the rest of the one that it was trained from."""
    before = start.state_dict()
    model.load_state_dict({name: before[name] + share * (values - before[name]) for name, values in model.state_dict().items()})
    return model


def main():
    options = argparse.ArgumentParser()
    options.add_argument("checkpoint", type=Path)
    options.add_argument("file", type=Path)
    options.add_argument("--type", choices=FILE_TYPES, default="q4_0")
    options.add_argument("--start", type=Path)
    options.add_argument("--share", type=float, default=1)
    given = options.parse_args()
    saved = torch.load(given.checkpoint, weights_only=True)
    model = rebuild(saved["described"], saved["weights"])
    if given.start:
        model = blended(model, from_ggml(given.start), given.share)
    export(model, given.file, given.type)
    print(f"{given.file}: {given.file.stat().st_size / 1e6:.1f} MB after {saved['done']} steps")


if __name__ == "__main__":
    main()
