"""Whisper's architecture, small: the parameters have the names and shapes that whisper.cpp requires.

The softmax of the training runs over the tokens that occur. So that no other token can win later, one dimension of the
decoder's last normalisation is constant, and only tokens that never occur have a (strongly negative) share of it.
"""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as functional
from torch import nn

N_VOCAB = 51864
EOT, SOT, NO_SPEECH, NO_TIMESTAMPS = 50256, 50257, 50361, 50362

# The constant of the last dimension, and its weight for a token that never occurs: a logit of -32.
CONSTANT, NEVER = 4.0, -8.0


@dataclass
class Shape:
    audio_ctx: int = 500
    state: int = 160
    head: int = 5
    audio_layer: int = 4
    text_ctx: int = 256
    text_layer: int = 2
    n_mels: int = 80


def sinusoids(length, channels):
    scale = torch.exp(-math.log(10000) / (channels // 2 - 1) * torch.arange(channels // 2))
    angles = torch.arange(length)[:, None] * scale[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


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
        # Written out: for heads this small PyTorch's fused attention takes four times as long on a processor.
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
        self.register_buffer("positional_embedding", sinusoids(shape.audio_ctx, shape.state))
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
    """`known` are the tokens that occur; rows of the embedding are those tokens, then one for all others."""

    def __init__(self, shape, known):
        super().__init__()
        self.known = known
        self.token_embedding = nn.Embedding(len(known), shape.state)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(shape.text_ctx, shape.state))
        self.blocks = nn.ModuleList(Block(shape.state, shape.head, True) for _ in range(shape.text_layer))
        self.ln = nn.LayerNorm(shape.state)
        nn.init.normal_(self.token_embedding.weight, std=0.05)
        free = torch.ones(shape.state)
        free[-1] = 0
        self.register_buffer("free", free, persistent=False)

    def rows(self):
        """The embedding of the known tokens, with nothing in the constant dimension, and the row of all others."""
        never = (1 - self.free)[None] * NEVER
        return torch.cat([self.token_embedding.weight * self.free, never])

    def last_norm(self, x):
        return functional.layer_norm(x, x.shape[-1:], self.ln.weight * self.free, self.ln.bias * self.free + (1 - self.free) * CONSTANT)

    def forward(self, rows, heard):
        """Rows of the embedding (batch, length) → logits of each known token, and of one for all others."""
        embedding = self.rows()
        x = functional.embedding(rows, embedding) + self.positional_embedding[: rows.shape[1]]
        for block in self.blocks:
            x = block(x, heard)
        return self.last_norm(x) @ embedding.T

    def whole_embedding(self):
        """All N_VOCAB rows, as the file has them."""
        rows = self.rows().detach()
        whole = rows[-1].repeat(N_VOCAB, 1)
        whole[torch.tensor(self.known)] = rows[:-1]
        return whole


class Model(nn.Module):
    def __init__(self, shape, known, letters):
        super().__init__()
        self.shape = shape
        self.encoder = Encoder(shape)
        self.decoder = Decoder(shape, known)
        # Spells the clip letter by letter while training (CTC), which teaches the encoder the positions of the sounds.
        self.letters = nn.Linear(shape.state, letters + 1)

    def described(self):
        return {"shape": asdict(self.shape), "known": self.decoder.known, "letters": self.letters.out_features - 1}


def rebuild(described, weights):
    model = Model(Shape(**described["shape"]), described["known"], described["letters"])
    model.load_state_dict(weights)
    return model.eval()
