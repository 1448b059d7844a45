"""Converts a Whisper model of CTranslate2 (float16) into ggml's format for whisper.cpp.

    convert-model.py WHISPER_SOURCE FILE [--type f16|q5_1|q8_0] PART...

WHISPER_SOURCE is the source package of openai-whisper (.tar.gz), which has the vocabulary and the mel filters. The PARTs
are the pieces of CTranslate2's model.bin, in order. The last line of the output is the SHA-256 over all weights as f16,
sorted by name: the same weights have the same, whatever file they came in.
"""

import argparse
import base64
import hashlib
import io
import struct
import tarfile
from pathlib import Path

import numpy

MAGIC = 0x67676D6C
F32, F16, Q5_1, Q8_0 = 0, 1, 7, 8  # ggml's types of a tensor
# The header's number for the type of most tensors; the thousands are the version of ggml's quantisation.
FILE_TYPES = {"f16": 1, "q5_1": 2009, "q8_0": 2007}
DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}  # CTranslate2's
ENGLISH_VOCABULARY = 51864
END_OF_TEXT = b"<|endoftext|>"


class Reader:
    """Reads CTranslate2's binary format: names with lengths, dimensions, a type, and the values."""

    def __init__(self, data):
        self.data, self.at = memoryview(data), 0

    def number(self, form):
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def take(self, length):
        if self.at + length > len(self.data):
            raise SystemExit("the model is cut")
        taken = self.data[self.at : self.at + length]
        self.at += length
        return taken

    def text(self):
        return bytes(self.take(self.number("H"))).rstrip(b"\0").decode()

    def variables(self):
        version, spec, _revision = self.number("I"), self.text(), self.number("I")
        if version != 6 or spec != "WhisperSpec":
            raise SystemExit(f"this is version {version} of a {spec}, not version 6 of a WhisperSpec")
        found = {}
        for _ in range(self.number("I")):
            name = self.text()
            size = [self.number("I") for _ in range(self.number("B"))]
            dtype, length = DTYPES[self.number("B")], self.number("I")
            found[name] = numpy.frombuffer(self.take(length), dtype).reshape(size)
        return found


class Weights:
    """The weights under whisper.cpp's names."""

    def __init__(self, variables):
        self.of, self.found = variables, {}
        self.state = variables["decoder/embeddings/weight"].shape[1]
        self.add("encoder.positional_embedding", variables["encoder/position_encodings/encodings"])
        for conv in ("conv1", "conv2"):
            self.add(f"encoder.{conv}.weight", variables[f"encoder/{conv}/weight"])
            self.add(f"encoder.{conv}.bias", variables[f"encoder/{conv}/bias"][:, None])
        self.add("decoder.positional_embedding", variables["decoder/position_encodings/encodings"])
        self.add("decoder.token_embedding.weight", variables["decoder/embeddings/weight"])
        self.layers = {side: self.blocks(side) for side in ("encoder", "decoder")}
        self.norm("encoder.ln_post", "encoder/layer_norm")
        self.norm("decoder.ln", "decoder/layer_norm")

    def add(self, name, values):
        self.found[name] = values

    def linear(self, name, source):
        self.add(f"{name}.weight", self.of[f"{source}/weight"])
        self.add(f"{name}.bias", self.of[f"{source}/bias"])

    def norm(self, name, source):
        self.add(f"{name}.weight", self.of[f"{source}/gamma"])
        self.add(f"{name}.bias", self.of[f"{source}/beta"])

    def rows(self, parts, source):
        """Splits fused rows: one part for each name. A key has no bias."""
        weight, bias = self.of[f"{source}/weight"], self.of[f"{source}/bias"]
        for number, name in enumerate(parts):
            rows = slice(number * self.state, (number + 1) * self.state)
            self.add(f"{name}.weight", weight[rows])
            if name.endswith(".key"):
                if bias[rows].any():
                    raise SystemExit(f"{name} has a bias, which Whisper does not have")
            else:
                self.add(f"{name}.bias", bias[rows])

    def blocks(self, side):
        count = 0
        while f"{side}/layer_{count}/ffn/linear_0/weight" in self.of:
            name, source = f"{side}.blocks.{count}", f"{side}/layer_{count}"
            own = f"{source}/self_attention"
            self.norm(f"{name}.attn_ln", f"{own}/layer_norm")
            self.rows([f"{name}.attn.{part}" for part in ("query", "key", "value")], f"{own}/linear_0")
            self.linear(f"{name}.attn.out", f"{own}/linear_1")
            if side == "decoder":
                cross = f"{source}/attention"
                self.norm(f"{name}.cross_attn_ln", f"{cross}/layer_norm")
                self.linear(f"{name}.cross_attn.query", f"{cross}/linear_0")
                self.rows([f"{name}.cross_attn.{part}" for part in ("key", "value")], f"{cross}/linear_1")
                self.linear(f"{name}.cross_attn.out", f"{cross}/linear_2")
            self.norm(f"{name}.mlp_ln", f"{source}/ffn/layer_norm")
            self.linear(f"{name}.mlp.0", f"{source}/ffn/linear_0")
            self.linear(f"{name}.mlp.2", f"{source}/ffn/linear_1")
            count += 1
        return count

    def digest(self):
        digest = hashlib.sha256()
        for name, values in sorted(self.found.items()):
            digest.update(f"{name} {list(values.shape)}\n".encode())
            digest.update(values.astype("<f2").tobytes())
        return digest.hexdigest()


def q8_0(values):
    """Blocks of 32: the scale as f16, then 32 signed bytes."""
    blocks = values.astype(numpy.float32).reshape(-1, 32)
    scale = numpy.abs(blocks).max(axis=1, keepdims=True) / numpy.float32(127)
    steps = numpy.divide(blocks, scale, out=numpy.zeros_like(blocks), where=scale > 0)
    out = numpy.empty((len(blocks), 34), numpy.uint8)
    out[:, :2] = scale.astype("<f2").view(numpy.uint8)
    # Halves are rounded away from zero, as ggml does.
    out[:, 2:] = numpy.trunc(steps + numpy.copysign(numpy.float32(0.5), steps)).astype(numpy.int8).view(numpy.uint8)
    return out.tobytes()


def q5_1(values):
    """Blocks of 32: scale and minimum as f16, the fifth bits, then the low four bits, two numbers to a byte."""
    blocks = values.astype(numpy.float32).reshape(-1, 32)
    least = blocks.min(axis=1, keepdims=True)
    scale = (blocks.max(axis=1, keepdims=True) - least) / numpy.float32(31)
    steps = numpy.divide(blocks - least, scale, out=numpy.zeros_like(blocks), where=scale > 0)
    steps = (steps + numpy.float32(0.5)).astype(numpy.uint8)
    fifth = (((steps >> 4) & 1).astype(numpy.uint32) << numpy.arange(32, dtype=numpy.uint32)).sum(axis=1, dtype="<u4")
    out = numpy.empty((len(blocks), 24), numpy.uint8)
    out[:, :2] = scale.astype("<f2").view(numpy.uint8)
    out[:, 2:4] = least.astype("<f2").view(numpy.uint8)
    out[:, 4:8] = fifth[:, None].view(numpy.uint8)
    out[:, 8:] = (steps[:, :16] & 15) | ((steps[:, 16:] & 15) << 4)
    return out.tobytes()


QUANTISED = {"q5_1": (Q5_1, q5_1), "q8_0": (Q8_0, q8_0)}


def write_tensor(file, name, values, file_type):
    is_matrix = values.ndim == 2 and name.endswith(".weight")
    if is_matrix and file_type in QUANTISED:
        kind, encode = QUANTISED[file_type]
        data = encode(values)
    elif is_matrix or values.ndim == 3:
        kind, data = F16, values.astype("<f2").tobytes()
    else:
        kind, data = F32, values.astype("<f4").tobytes()
    title = name.encode()
    file.write(struct.pack("<3i", values.ndim, len(title), kind))
    file.write(struct.pack(f"<{values.ndim}i", *reversed(values.shape)))
    file.write(title)
    file.write(data)


def assets(source, is_english):
    """The mel filters, and the bytes of each token."""
    wanted = "gpt2.tiktoken" if is_english else "multilingual.tiktoken"
    with tarfile.open(source) as archive:
        files = {Path(member.name).name: member for member in archive.getmembers() if "/assets/" in member.name}
        filters = numpy.load(io.BytesIO(archive.extractfile(files["mel_filters.npz"]).read()))["mel_80"]
        lines = archive.extractfile(files[wanted]).read().splitlines()
    pieces = [base64.b64decode(line.split()[0]) for line in lines if line.strip()]
    # The English vocabulary of the official files has the end of the text as its last word.
    return filters.astype("<f4"), pieces + [END_OF_TEXT] if is_english else pieces


def write(path, weights, variables, source, file_type):
    vocabulary = variables["decoder/embeddings/weight"].shape[0]
    filters, pieces = assets(source, vocabulary == ENGLISH_VOCABULARY)
    sides = []
    for side in ("encoder", "decoder"):
        context = weights.found[f"{side}.positional_embedding"].shape[0]
        sides += [context, weights.state, int(variables[f"{side}/num_heads"]), weights.layers[side]]
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        file.write(struct.pack("<I11i", MAGIC, vocabulary, *sides, filters.shape[0], FILE_TYPES[file_type]))
        file.write(struct.pack("<2i", *filters.shape))
        file.write(filters.tobytes())
        file.write(struct.pack("<i", len(pieces)))
        for piece in pieces:
            file.write(struct.pack("<i", len(piece)) + piece)
        for name, values in weights.found.items():
            write_tensor(file, name, values, file_type)
    partial.replace(path)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("source", type=Path)
    options.add_argument("file", type=Path)
    options.add_argument("parts", type=Path, nargs="+")
    options.add_argument("--type", choices=FILE_TYPES, default="f16")
    given = options.parse_args()
    variables = Reader(b"".join(part.read_bytes() for part in given.parts)).variables()
    weights = Weights(variables)
    write(given.file, weights, variables, given.source, given.type)
    print(weights.digest())


if __name__ == "__main__":
    main()
