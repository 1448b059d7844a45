"""Trains the model, in steps that can be interrupted: each batch is drawn from the seed and its own number.

    train.py CLIPS CHECKPOINT [--steps N] [--settle N] [--last N] [--seed N] [--stop-after SECONDS]

A batch does not depend on how many steps there will be: a training may be given more of them, or fewer, on the way.
"""

import argparse
import time
from pathlib import Path

import numpy
import torch
import torch.nn.functional as functional
from torch.utils.data import DataLoader, Dataset

import sentences
import sound
import speak
import tokens
from model import EOT, NO_SPEECH, NO_TIMESTAMPS, PREV, SOT, Model, Shape

BATCH = 32
POOL = 24  # batches whose clips are sorted by length together
SAVE_EVERY = 50

IGNORED = -100


class Batches(Dataset):
    """Batch number n of a training, as tensors. Nothing is remembered between two numbers."""

    def __init__(self, folder, known, seed, steps):
        self.described, self.samples = speak.load_set(folder, "train")
        self.row = {token: row for row, token in enumerate(known)}
        self.known = known
        self.seed, self.steps = seed, steps

    def __len__(self):
        return self.steps

    def clip(self, number):
        described = self.described[number]
        return self.samples[described["offset"] : described["offset"] + described["samples"]]

    def members(self, step):
        """The clips of a batch: neighbours in length out of a pool drawn at random."""
        pool, place = divmod(step, POOL)
        count, need = len(self.described), BATCH * POOL
        first = pool * need
        chosen = [self.shuffled(n // count)[n % count] for n in range(first, first + need)]
        chosen.sort(key=lambda number: self.described[number]["samples"])
        place = numpy.random.default_rng([self.seed, 7, pool]).permutation(POOL)[place]
        return chosen[place * BATCH : (place + 1) * BATCH]

    def shuffled(self, epoch):
        if getattr(self, "epoch", None) != epoch:
            self.epoch, self.order = epoch, numpy.random.default_rng([self.seed, epoch]).permutation(len(self.described))
        return self.order

    def prompt(self, rng):
        """Titles and friends before the start, as a hub gives them to help with names; some tokens are strange."""
        entries = [tokens.titled(written) for written, _ in sentences.TITLES + sentences.NAMES]
        text = ", ".join(rng.choice(entries, rng.integers(1, 25)))
        if rng.random() < 0.3:
            text = str(rng.choice(["Songs: ", "Stories: ", "Friends: "])) + text
        if rng.random() < 0.5:
            text += "."
        rows = [self.row.get(token, len(self.known)) for token in tokens.encode(" " + text)][-126:]
        return [self.row[PREV]] + [len(self.known) if rng.random() < 0.04 else row for row in rows]

    def __getitem__(self, step):
        rng = numpy.random.default_rng([self.seed, 11, step])
        members = self.members(step)
        # Whatever comes after the words, up to the whole window, must not disturb; those batches are smaller.
        wide = rng.random() < 0.12
        if wide:
            members = list(rng.choice(members, BATCH // 3, replace=False))
        heard, texts = [], []
        for number in members:
            if rng.random() < 0.07:
                kind = rng.choice(list(sound.NOT_SPEECH))
                samples, text = sound.not_speech(rng, kind, rng.uniform(0.6, 1.8) if not wide else rng.uniform(0.6, 8)), None
            else:
                other = self.clip(int(rng.integers(len(self.described))))
                samples, text = sound.heard(rng, self.clip(number), other, calm=rng.random() < 0.3, late=wide), self.described[number]["written"]
            heard.append(sound.log_mel(samples))
            texts.append(text)

        positions = max((len(mel) + 1) // 2 for mel, _ in heard) + int(rng.integers(0, 12))
        positions = min(500, int(rng.integers(positions, 501)) if wide and positions < 500 else positions)
        mels = numpy.empty((len(heard), 2 * positions, 80), numpy.float32)
        for place, (mel, silence) in enumerate(heard):
            mels[place] = silence
            mels[place, : len(mel)] = mel[: 2 * positions]
            hide(rng, mels[place], min(len(mel), 2 * positions))

        prompted = rng.random() < 0.2
        given, wanted, silent = [], [], []
        for text in texts:
            before = (self.prompt(rng) if prompted else []) + [self.row[SOT], self.row[NO_TIMESTAMPS]]
            # For what is no speech the first wanted token is a mixture (see `loss_of`); one that is forced to write
            # something writes a full stop.
            words = [self.row[token] for token in tokens.encode(" " + text if text else ".")]
            given.append(before + words)
            wanted.append([IGNORED] * (len(before) - 1) + words + [self.row[EOT]])
            silent.append(len(before) - 1 if text is None else -1)
            if text is None:
                wanted[-1][len(before) - 1] = IGNORED
        length = max(map(len, given))
        rows = torch.tensor([row + [self.row[EOT]] * (length - len(row)) for row in given])
        wanted = torch.tensor([row + [IGNORED] * (length - len(row)) for row in wanted])
        spelled = [tokens.letters(text or "") for text in texts]
        return {
            "mel": torch.from_numpy(mels),
            "rows": rows,
            "wanted": wanted,
            "silent": torch.tensor(silent),
            "letters": torch.tensor([letter for letters in spelled for letter in letters]),
            "lengths": torch.tensor([len(letters) for letters in spelled]),
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


def loss_of(model, batch, row):
    """The decoder's loss with the encoder's spelling loss beside it."""
    with torch.autocast("cpu", torch.bfloat16):
        heard = model.encoder(batch["mel"])
        logits = model.decoder(batch["rows"], heard)
        spelling = model.letters(heard)
    logits = logits.float()
    words = functional.cross_entropy(logits.flatten(0, 1), batch["wanted"].flatten(), ignore_index=IGNORED, label_smoothing=0.03)
    silent = batch["silent"] >= 0
    if silent.any():
        first = logits[silent, batch["silent"][silent]].log_softmax(-1)
        mixed = 0.5 * first[:, row[NO_SPEECH]] + 0.4 * first[:, row[EOT]] + 0.1 * first[:, row[tokens.encode(".")[0]]]
        words = words - mixed.mean() * 0.1
    spelling = spelling.float().log_softmax(-1).transpose(0, 1)
    heard_lengths = torch.full((spelling.shape[1],), spelling.shape[0])
    ctc = functional.ctc_loss(spelling, batch["letters"], heard_lengths, batch["lengths"], zero_infinity=True)
    return words, ctc


def optimisers(model):
    """Muon turns the weights of the layers; AdamW the embeddings, convolutions, norms and biases."""
    layers = [p for name, p in model.named_parameters() if ".blocks." in name and p.ndim == 2]
    turned = {id(p) for p in layers}
    others = [p for p in model.parameters() if id(p) not in turned]
    muon = torch.optim.Muon(layers, lr=0.02, weight_decay=0.01, ns_steps=4)
    adam = torch.optim.AdamW(others, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    return [muon, adam]


def rate(step, steps, settle):
    """Up for a short while, level, then down to nothing over the steps in which the model settles."""
    return min(1, (step + 1) / 100, max(0.0, (steps - step) / settle))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("clips", type=Path)
    options.add_argument("checkpoint", type=Path)
    options.add_argument("--steps", type=int, default=8000)
    options.add_argument("--settle", type=int, default=2000, help="steps at the end in which the rate falls")
    options.add_argument("--last", type=int, help="so many more steps and no others, the rate falling in all of them")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--stop-after", type=float, default=float("inf"), help="seconds, then stop where it can go on")
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()

    torch.manual_seed(given.seed)
    torch.set_num_threads(given.threads)
    known = tokens.known_tokens()
    row = {token: place for place, token in enumerate(known)}
    model = Model(Shape(), known, len(tokens.LETTERS), dropout=0.05)
    optimising = optimisers(model)
    rates = [[group["lr"] for group in optimiser.param_groups] for optimiser in optimising]
    done = 0
    if given.checkpoint.exists():
        saved = torch.load(given.checkpoint, weights_only=True)
        model.load_state_dict(saved["weights"])
        for optimiser, state in zip(optimising, saved["optimisers"]):
            optimiser.load_state_dict(state)
        done = saved["done"]
        torch.set_rng_state(saved["random"])
    if given.last:
        given.steps, given.settle = done + given.last, given.last
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(known)} tokens, from step {done} of {given.steps}", flush=True)

    def save():
        partial = given.checkpoint.with_suffix(".partial")
        states = [optimiser.state_dict() for optimiser in optimising]
        torch.save(
            {"described": model.described(), "weights": model.state_dict(), "optimisers": states, "done": done, "random": torch.get_rng_state()}, partial
        )
        partial.replace(given.checkpoint)

    batches = Batches(given.clips, known, given.seed, given.steps)
    # A generator of its own: else each start takes a number from the one that dropout draws from.
    order = {"sampler": range(done, given.steps), "generator": torch.Generator()}
    loader = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=6, **order)
    began, shown, sums = time.time(), time.time(), [0.0, 0.0, 0]
    model.train()
    for batch in loader:
        for optimiser, group_rates in zip(optimising, rates):
            for group, base in zip(optimiser.param_groups, group_rates):
                group["lr"] = base * rate(done, given.steps, given.settle)
        words, ctc = loss_of(model, batch, row)
        (words + 0.3 * ctc).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        for optimiser in optimising:
            optimiser.step()
            optimiser.zero_grad()
        done += 1
        sums = [sums[0] + words.item(), sums[1] + ctc.item(), sums[2] + 1]
        if done % 20 == 0:
            print(f"step {done}: words {sums[0] / sums[2]:.3f}, spelling {sums[1] / sums[2]:.3f}, {(time.time() - shown) / sums[2]:.2f} s a step", flush=True)
            shown, sums = time.time(), [0.0, 0.0, 0]
        stop = time.time() - began > given.stop_after
        if done % SAVE_EVERY == 0 or stop or done == given.steps:
            save()
        if stop:
            break


if __name__ == "__main__":
    main()
