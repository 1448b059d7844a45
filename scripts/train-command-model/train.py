"""Trains `tiny.en` further on the sentences of a toy, in steps that can be interrupted: each batch is drawn from the seed
and its own number.

    train.py START CLIPS CHECKPOINT [--steps N] [--settle N] [--seed N] [--rate R] [--stop-after SECONDS]

START is the file of `tiny.en` with f16 weights. In the last steps the model is trained with its weights as q4_0 rounds them,
so that it does not lose by that.
"""

import argparse
import contextlib
import math
import time
from pathlib import Path

import numpy
import torch
import torch.nn.functional as functional
from torch.utils.data import DataLoader, Dataset

import sound
import speak
import tokens
from model import EOT, NO_SPEECH, NO_TIMESTAMPS, SOT, from_ggml

BATCH = 48
POOL = 24  # batches whose clips are sorted by length together
SAVE_EVERY = 50
# The share of each set in a batch.
SETS = {"neural": 6, "train": 4, "mixed": 3, "general": 2}

IGNORED = -100


class Batches(Dataset):
    """Batch number n of a training, as tensors. Nothing is remembered between two numbers."""

    def __init__(self, folder, seed, steps):
        self.described, self.sets, parts, offset = [], [], [], 0
        for name, weight in SETS.items():
            described, samples = speak.load_set(folder, name)
            if not described:
                continue
            first = len(self.described)
            self.described += [clip | {"offset": clip["offset"] + offset} for clip in described]
            self.sets.append((first, len(described), weight))
            parts.append(samples)
            offset += len(samples)
        self.samples = numpy.concatenate(parts)
        self.usual = sorted({token for clip in self.described for token in tokens.encode(" " + clip["written"])})
        self.seed, self.steps = seed, steps

    def __len__(self):
        return self.steps

    def clip(self, number):
        described = self.described[number]
        return self.samples[described["offset"] : described["offset"] + described["samples"]]

    def members(self, step):
        """The clips of a batch: neighbours in length out of a pool drawn at random."""
        pool, place = divmod(step, POOL)
        rng = numpy.random.default_rng([self.seed, 7, pool])
        shares = numpy.array([weight for _, _, weight in self.sets], float)
        counts = rng.multinomial(BATCH * POOL, shares / shares.sum())
        chosen = [first + number for (first, count, _), wanted in zip(self.sets, counts) for number in rng.integers(0, count, wanted)]
        chosen.sort(key=lambda number: self.described[number]["samples"])
        place = rng.permutation(POOL)[place]
        return chosen[place * BATCH : (place + 1) * BATCH]

    def __getitem__(self, step):
        rng = numpy.random.default_rng([self.seed, 11, step])
        members = self.members(step)
        # Whatever comes after the words, up to the whole window, must not disturb; those batches are smaller.
        wide = rng.random() < 0.1
        if wide:
            members = list(rng.choice(members, BATCH // 3, replace=False))
        heard, texts = [], []
        for number in members:
            if rng.random() < 0.06:
                kind = rng.choice(list(sound.NOT_SPEECH))
                samples, text = sound.not_speech(rng, kind, rng.uniform(0.6, 1.8) if not wide else rng.uniform(0.6, 8)), None
            else:
                other = self.clip(int(rng.integers(len(self.described))))
                samples, text = sound.heard(rng, self.clip(number), other, calm=rng.random() < 0.35, late=wide), self.described[number]["written"]
            heard.append(sound.log_mel(samples))
            texts.append(text)

        # The hub gives the sound 16 positions more than it needs, and a multiple of 64.
        longest = max((len(mel) + 1) // 2 for mel, _ in heard)
        positions = longest + int(rng.integers(8, 81))
        positions = min(500, int(rng.integers(positions, 501)) if wide and positions < 500 else positions)
        mels = numpy.empty((len(heard), 2 * positions, 80), numpy.float32)
        for place, (mel, silence) in enumerate(heard):
            mels[place] = silence
            mels[place, : len(mel)] = mel[: 2 * positions]
            hide(rng, mels[place], min(len(mel), 2 * positions))

        given, wanted = [], []
        for text in texts:
            # As in Whisper the first token says whether there is speech; a sound without speech ends at once.
            first = NO_TIMESTAMPS if text else NO_SPEECH
            words = tokens.encode(" " + text if text else "")
            # Some words before are wrong, so that the decoder listens rather than guesses.
            wrong = rng.random(len(words)) < 0.06
            before = [int(rng.choice(self.usual)) if swap else word for word, swap in zip(words, wrong)]
            given.append([SOT, NO_TIMESTAMPS] + before)
            wanted.append([first] + words + [EOT])
        length = max(map(len, given))
        return {
            "mel": torch.from_numpy(mels),
            "tokens": torch.tensor([row + [EOT] * (length - len(row)) for row in given]),
            "wanted": torch.tensor([row + [IGNORED] * (length - len(row)) for row in wanted]),
        }


def hide(rng, mel, frames):
    """Masks a few bands and moments (SpecAugment), so that no single cue carries a word."""
    if rng.random() < 0.6:
        mean = mel[:frames].mean()
        for _ in range(rng.integers(1, 3)):
            width = rng.integers(1, 14)
            start = rng.integers(0, 80 - width)
            mel[:frames, start : start + width] = mean
        for _ in range(rng.integers(0, 3)):
            width = rng.integers(1, 12)
            start = rng.integers(0, max(1, frames - width))
            mel[start : start + width] = mean


def loss_of(model, batch):
    kept = batch["wanted"] != IGNORED
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.decoder(batch["tokens"], model.encoder(batch["mel"]), kept)
    return functional.cross_entropy(logits.float(), batch["wanted"][kept])


def rate(step, steps):
    """Up for a short while, then down to nothing along a cosine."""
    return min((step + 1) / 60, 0.5 + 0.5 * math.cos(math.pi * step / steps))


def as_q4_0(values):
    """The numbers that are left of a matrix in q4_0."""
    blocks = values.reshape(-1, 32)
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = (largest / -8).half().float()
    steps = torch.where(scale != 0, blocks / scale, 0).add(8.5).floor().clamp(0, 15) - 8
    return (steps * scale).view_as(values)


@contextlib.contextmanager
def rounded(model, whether):
    """The matrices of the model as the file will have them; gradients found inside belong to the unrounded ones."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and name.endswith(".weight")] if whether else []
    before = [matrix.data for matrix in matrices]
    for matrix in matrices:
        matrix.data = as_q4_0(matrix.data)
    yield
    for matrix, values in zip(matrices, before):
        matrix.data = values


def main():
    options = argparse.ArgumentParser()
    options.add_argument("start", type=Path)
    options.add_argument("clips", type=Path)
    options.add_argument("checkpoint", type=Path)
    options.add_argument("--steps", type=int, default=1600)
    options.add_argument("--settle", type=int, default=500, help="steps at the end with rounded weights")
    options.add_argument("--rate", type=float, default=8e-5)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--stop-after", type=float, default=float("inf"), help="seconds, then stop where it can go on")
    given = options.parse_args()

    torch.manual_seed(given.seed)
    model = from_ggml(given.start)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=given.rate, betas=(0.9, 0.98), weight_decay=0.01)
    done = 0
    if given.checkpoint.exists():
        saved = torch.load(given.checkpoint, weights_only=True)
        model.load_state_dict(saved["weights"])
        optimiser.load_state_dict(saved["optimiser"])
        done = saved["done"]
    print(f"{sum(p.numel() for p in trained):,} parameters are trained, from step {done} of {given.steps}", flush=True)

    def save():
        partial = given.checkpoint.with_suffix(".partial")
        torch.save({"described": model.described(), "weights": model.state_dict(), "optimiser": optimiser.state_dict(), "done": done}, partial)
        partial.replace(given.checkpoint)

    batches = Batches(given.clips, given.seed, given.steps)
    loader = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4, sampler=range(done, given.steps))
    began, shown, losses = time.time(), time.time(), []
    model.train()
    for batch in loader:
        for group in optimiser.param_groups:
            group["lr"] = given.rate * rate(done, given.steps)
        with rounded(model, done >= given.steps - given.settle):
            loss = loss_of(model, batch)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        done += 1
        losses.append(loss.item())
        late = time.time() - began > given.stop_after
        if done % 20 == 0 or late:
            speed = (time.time() - shown) / len(losses)
            print(f"step {done}: loss {numpy.mean(losses):.3f}, {speed:.2f} s a step", flush=True)
            shown, losses = time.time(), []
        if done % SAVE_EVERY == 0 or late or done == given.steps:
            save()
        if late:
            break


if __name__ == "__main__":
    main()
