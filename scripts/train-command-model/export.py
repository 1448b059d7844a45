"""Writes a checkpoint as a ggml file for whisper.cpp.

    export.py CHECKPOINT FILE [--type q8_0|f16]

The layers and the token embedding are q8_0 (blocks of 32 with one f16 scale) or f16; convolutions are f16; norms,
biases and positional embeddings f32. Order of the file: header, mel filters, vocabulary, tensors.
"""

import argparse
import struct
from pathlib import Path

import numpy
import torch

import sound
import tokens
from model import N_VOCAB, rebuild

MAGIC = 0x67676D6C
F32, F16, Q8_0 = 0, 1, 8  # ggml's types of a tensor
# The header's number for the type of most tensors; thousands are the version of ggml's quantisation.
FILE_TYPES = {"f16": 1, "q8_0": 2007}


def q8_0(values):
    """Blocks of 32 along the last dimension: the scale as f16, then 32 signed bytes."""
    blocks = values.astype(numpy.float32).reshape(-1, 32)
    scale = numpy.abs(blocks).max(axis=1, keepdims=True) / 127
    steps = numpy.round(numpy.divide(blocks, scale, out=numpy.zeros_like(blocks), where=scale > 0))
    out = numpy.empty((len(blocks), 34), numpy.uint8)
    out[:, :2] = scale.astype(numpy.float16).view(numpy.uint8)
    out[:, 2:] = steps.astype(numpy.int8).view(numpy.uint8)
    return out.tobytes()


def tensors_of(model):
    """(name, values) of exactly the tensors that whisper.cpp requires."""
    for name, values in model.state_dict().items():
        if name == "decoder.token_embedding.weight":
            values = model.decoder.whole_embedding()
        elif name == "decoder.ln.weight":
            values = values * model.decoder.free
        elif name == "decoder.ln.bias":
            values = constant_bias(model, values)
        elif name.startswith("letters."):
            continue
        values = values.detach().numpy().astype(numpy.float32)
        if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
            values = values[:, None]
        yield name, values


def constant_bias(model, bias):
    """The bias of the last normalisation with the constant that keeps unknown tokens from winning."""
    zero = torch.zeros(1, model.shape.state)
    with torch.no_grad():
        fixed = model.decoder.last_norm(zero)[0]
    return bias * model.decoder.free + fixed * (1 - model.decoder.free)


def write_tensor(file, name, values, matrices):
    if values.ndim == 3:
        kind, data = F16, values.astype(numpy.float16).tobytes()
    elif values.ndim == 2 and name.endswith(".weight"):
        kind, data = (Q8_0, q8_0(values)) if matrices == "q8_0" else (F16, values.astype(numpy.float16).tobytes())
    else:
        kind, data = F32, values.tobytes()
    title = name.encode()
    file.write(struct.pack("<3i", values.ndim, len(title), kind))
    file.write(struct.pack(f"<{values.ndim}i", *reversed(values.shape)))
    file.write(title)
    file.write(data)


def export(model, path, matrices):
    shape = model.shape
    header = [N_VOCAB, shape.audio_ctx, shape.state, shape.head, shape.audio_layer]
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


def main():
    options = argparse.ArgumentParser()
    options.add_argument("checkpoint", type=Path)
    options.add_argument("file", type=Path)
    options.add_argument("--type", choices=FILE_TYPES, default="q8_0")
    given = options.parse_args()
    saved = torch.load(given.checkpoint, weights_only=True)
    export(rebuild(saved["described"], saved["weights"]), given.file, given.type)
    print(f"{given.file}: {given.file.stat().st_size / 1e6:.1f} MB after {saved['done']} steps")


if __name__ == "__main__":
    main()
