"""Whisper's architecture: the parameters have the names and shapes that whisper.cpp requires."""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as functional
from torch import nn

import weights

EOT, SOT, NO_SPEECH, NO_TIMESTAMPS = 50256, 50257, 50361, 50362


@dataclass
class Shape:
    """Of `tiny.en`, with a window of 10 s instead of 30."""

    vocabulary: int = 51864
    audio_ctx: int = 500
    state: int = 384
    head: int = 6
    audio_layer: int = 4
    text_ctx: int = 448
    text_layer: int = 4
    n_mels: int = 80


class Attention(nn.Module):
    def __init__(self, state, head):
        super().__init__()
        self.head = head
        self.query = nn.Linear(state, state)
        self.key = nn.Linear(state, state, bias=False)
        self.value = nn.Linear(state, state)
        self.out = nn.Linear(state, state)

    def forward(self, x, source=None, causal=False):
        source = x if source is None else source
        split = lambda t: t.unflatten(-1, (self.head, -1)).transpose(1, 2)
        query, key, value = split(self.query(x)), split(self.key(source)), split(self.value(source))
        # Written out: for heads this small PyTorch's fused attention takes longer on a processor.
        alike = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if causal:
            alike = alike + torch.full(alike.shape[-2:], -torch.inf, dtype=alike.dtype).triu(1)
        heads = alike.softmax(-1).to(value.dtype) @ value
        return self.out(heads.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, state, head, cross):
        super().__init__()
        self.attn_ln = nn.LayerNorm(state)
        self.attn = Attention(state, head)
        if cross:
            self.cross_attn_ln = nn.LayerNorm(state)
            self.cross_attn = Attention(state, head)
        self.cross = cross
        self.mlp_ln = nn.LayerNorm(state)
        # ggml's GELU is the tanh approximation.
        self.mlp = nn.Sequential(nn.Linear(state, 4 * state), nn.GELU(approximate="tanh"), nn.Linear(4 * state, state))

    def forward(self, x, heard=None):
        x = x + self.attn(self.attn_ln(x), causal=self.cross)
        if self.cross:
            x = x + self.cross_attn(self.cross_attn_ln(x), heard)
        return x + self.mlp(self.mlp_ln(x))


class Encoder(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.conv1 = nn.Conv1d(shape.n_mels, shape.state, 3, padding=1)
        self.conv2 = nn.Conv1d(shape.state, shape.state, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", torch.zeros(shape.audio_ctx, shape.state))
        self.blocks = nn.ModuleList(Block(shape.state, shape.head, False) for _ in range(shape.audio_layer))
        self.ln_post = nn.LayerNorm(shape.state)

    def forward(self, mel):
        """(batch, frames, mels), an even number of frames → (batch, frames / 2, state)"""
        x = functional.gelu(self.conv1(mel.transpose(1, 2)), approximate="tanh")
        x = functional.gelu(self.conv2(x), approximate="tanh").transpose(1, 2)
        x = x + self.positional_embedding[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)


class Decoder(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.token_embedding = nn.Embedding(shape.vocabulary, shape.state)
        # A training changes no token: those that it never says would become improbable.
        self.token_embedding.weight.requires_grad = False
        self.positional_embedding = nn.Parameter(torch.zeros(shape.text_ctx, shape.state))
        self.blocks = nn.ModuleList(Block(shape.state, shape.head, True) for _ in range(shape.text_layer))
        self.ln = nn.LayerNorm(shape.state)

    def forward(self, tokens, heard, kept):
        """Tokens (batch, length) → logits of the next ones, at the places of the mask `kept`."""
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, heard)
        return self.ln(x)[kept] @ self.token_embedding.weight.T


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.encoder = Encoder(shape)
        self.decoder = Decoder(shape)

    def described(self):
        return asdict(self.shape)


def from_ggml(path):
    """The model of a file with f16 weights; its window becomes shorter, if need be."""
    header, tensors = weights.read(path)
    vocabulary, _, state, head, audio_layer, text_ctx, _, _, text_layer, n_mels, _ = header
    shape = Shape(vocabulary, Shape.audio_ctx, state, head, audio_layer, text_ctx, text_layer, n_mels)
    model = Model(shape)
    wanted = model.state_dict()
    found = {}
    for name, values in tensors.items():
        if name == "encoder.positional_embedding":
            values = values[: shape.audio_ctx]
        found[name] = torch.from_numpy(values.copy()).reshape(wanted[name].shape)
    model.load_state_dict(found)
    return model


def rebuild(described, values):
    model = Model(Shape(**described))
    model.load_state_dict(values)
    return model.eval()
