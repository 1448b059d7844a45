"""Trains the model, in steps that can be interrupted: each batch is drawn from the seed and its own number.

    train.py CLIPS CHECKPOINT [--steps N] [--settle N] [--last N] [--seed N] [--stop-after SECONDS] [--processes N]

A batch does not depend on how many steps there will be: a training may be given more of them, or fewer, on the way.
"""

import argparse
import socket
import time
from pathlib import Path

import numpy
import torch
import torch.nn.functional as functional
from torch import distributed, multiprocessing
from torch.utils.data import DataLoader, Dataset

import sound
import speak
import tokens
from model import EOT, NO_SPEECH, NO_TIMESTAMPS, SOT, Model, Shape

BATCH = 32
POOL = 24  # batches whose clips are sorted by length together
SAVE_EVERY = 50
EASY_STEPS = 1500
# Before this step only sentences that make sense; whole ones teach the words soonest. A multiple of POOL.
SENSE_STEPS = 2640

IGNORED = -100


class Batches(Dataset):
    """Batch number n of a training, as tensors. Nothing is remembered between two numbers."""

    def __init__(self, folder, known, seed, steps):
        self.described, self.samples = speak.load_set(folder, "train")
        self.sensible = len(self.described)
        mixed, samples = speak.load_set(folder, "mixed")
        self.described += [clip | {"offset": clip["offset"] + len(self.samples)} for clip in mixed]
        self.samples = numpy.concatenate([self.samples, samples])
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
        count, need = self.count(step), BATCH * POOL
        first = pool * need
        chosen = [self.shuffled(count, n // count)[n % count] for n in range(first, first + need)]
        chosen.sort(key=lambda number: self.described[number]["samples"])
        place = numpy.random.default_rng([self.seed, 7, pool]).permutation(POOL)[place]
        return chosen[place * BATCH : (place + 1) * BATCH]

    def count(self, step):
        return self.sensible if step < SENSE_STEPS else len(self.described)

    def shuffled(self, count, epoch):
        if getattr(self, "shuffle", None) != (count, epoch):
            self.shuffle = (count, epoch)
            self.order = numpy.random.default_rng([self.seed, epoch]).permutation(count)
        return self.order

    def __getitem__(self, step):
        rng = numpy.random.default_rng([self.seed, 11, step])
        members = self.members(step)
        # Whatever comes after the words, up to the whole window, must not disturb; those batches are smaller.
        easy = rng.random() < ease(step)
        wide = not easy and rng.random() < 0.12
        if wide:
            members = list(rng.choice(members, BATCH // 3, replace=False))
        heard, texts = [], []
        for number in members:
            if rng.random() < 0.07:
                kind = rng.choice(list(sound.NOT_SPEECH))
                samples, text = sound.not_speech(rng, kind, rng.uniform(0.6, 1.8) if not wide else rng.uniform(0.6, 8)), None
            else:
                other = self.clip(int(rng.integers(self.count(step))))
                samples, text = sound.heard(rng, self.clip(number), other, calm=easy or rng.random() < 0.3, late=wide), self.described[number]["written"]
            heard.append(sound.log_mel(samples))
            texts.append(text)

        positions = max((len(mel) + 1) // 2 for mel, _ in heard) + int(rng.integers(0, 12))
        positions = min(500, int(rng.integers(positions, 501)) if wide and positions < 500 else positions)
        mels = numpy.empty((len(heard), 2 * positions, 80), numpy.float32)
        for place, (mel, silence) in enumerate(heard):
            mels[place] = silence
            mels[place, : len(mel)] = mel[: 2 * positions]
            if not easy:
                hide(rng, mels[place], min(len(mel), 2 * positions))

        given, wanted = [], []
        for text in texts:
            # As in Whisper the first token says whether there is speech; a sound without speech ends at once.
            first = NO_TIMESTAMPS if text else NO_SPEECH
            words = [self.row[token] for token in tokens.encode(" " + text if text else "")]
            # Some words before are wrong, so that the decoder listens rather than guesses.
            wrong = rng.random(len(words)) < (0.1 if step >= SENSE_STEPS else 0)
            before = [int(rng.integers(len(self.known))) if swap else word for word, swap in zip(words, wrong)]
            given.append([self.row[SOT], self.row[NO_TIMESTAMPS]] + before)
            wanted.append([self.row[first]] + words + [self.row[EOT]])
        length = max(map(len, given))
        rows = torch.tensor([row + [self.row[EOT]] * (length - len(row)) for row in given])
        wanted = torch.tensor([row + [IGNORED] * (length - len(row)) for row in wanted])
        spelled = [tokens.letters(text or "") for text in texts]
        return {
            "mel": torch.from_numpy(mels),
            "rows": rows,
            "wanted": wanted,
            "letters": torch.tensor([letter for letters in spelled for letter in letters]),
            "lengths": torch.tensor([len(letters) for letters in spelled]),
        }


def ease(step):
    """From 1 to 0 over the first steps: clean clips and their spelling come first, or the encoder is slow to find the words."""
    return max(0.0, 1 - step / EASY_STEPS)


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
    """The decoder's loss with the encoder's spelling loss beside it."""
    with torch.autocast("cpu", torch.bfloat16):
        heard = model.encoder(batch["mel"])
        logits = model.decoder(batch["rows"], heard)
        spelling = model.letters(heard)
    logits = logits.float()
    words = functional.cross_entropy(logits.flatten(0, 1), batch["wanted"].flatten(), ignore_index=IGNORED, label_smoothing=0.03)
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


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def average(model, figures):
    """Replaces gradients and figures by their means over all processes; gives the figures."""
    parts = [parameter.grad for parameter in model.parameters()] + [torch.tensor(figures)]
    flat = torch.cat([part.flatten() for part in parts])
    if distributed.is_initialized():
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
    for part, mean in zip(parts, flat.split([part.numel() for part in parts])):
        part.copy_(mean.view_as(part))
    return parts[-1].tolist()


def train(rank, given, port):
    """One of the processes: of each round of batches it takes one. Steps count batches."""
    if given.processes > 1:
        where = {"init_method": f"tcp://127.0.0.1:{port}", "rank": rank, "world_size": given.processes}
        distributed.init_process_group("gloo", **where)
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    known = tokens.known_tokens()
    model = Model(Shape(), known, len(tokens.LETTERS))
    optimising = optimisers(model)
    rates = [[group["lr"] for group in optimiser.param_groups] for optimiser in optimising]
    done = 0
    if given.checkpoint.exists():
        saved = torch.load(given.checkpoint, weights_only=True)
        model.load_state_dict(saved["weights"])
        for optimiser, state in zip(optimising, saved["optimisers"]):
            optimiser.load_state_dict(state)
        done = saved["done"]
    if given.last:
        given.steps, given.settle = done + given.last, given.last
    if rank == 0:
        print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(known)} tokens, from step {done} of {given.steps}", flush=True)

    def save():
        partial = given.checkpoint.with_suffix(".partial")
        states = [optimiser.state_dict() for optimiser in optimising]
        torch.save({"described": model.described(), "weights": model.state_dict(), "optimisers": states, "done": done}, partial)
        partial.replace(given.checkpoint)

    rounds = (given.steps - done) // given.processes
    own = range(done + rank, done + rounds * given.processes, given.processes)
    batches = Batches(given.clips, known, given.seed, given.steps)
    loader = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=6, sampler=own)
    began, shown, sums = time.time(), time.time(), numpy.zeros(3)
    model.train()
    for number, batch in enumerate(loader, 1):
        for optimiser, group_rates in zip(optimising, rates):
            for group, base in zip(optimiser.param_groups, group_rates):
                group["lr"] = base * rate(done, given.steps, given.settle)
        words, ctc = loss_of(model, batch)
        (words + (0.3 + 0.7 * ease(done)) * ctc).backward()
        late = float(time.time() - began > given.stop_after)
        *losses, late = average(model, [words.item(), ctc.item(), late])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        for optimiser in optimising:
            optimiser.step()
            optimiser.zero_grad()
        done += given.processes
        sums += [*losses, 1]
        last = late > 0 or number == rounds
        if rank == 0 and (number % 20 == 0 or last):
            words, ctc, count = sums
            speed = (time.time() - shown) / count / given.processes
            print(f"step {done}: words {words / count:.3f}, spelling {ctc / count:.3f}, {speed:.2f} s a step", flush=True)
            shown, sums = time.time(), numpy.zeros(3)
        if rank == 0 and (number % SAVE_EVERY == 0 or last):
            save()
        if last:
            break


def main():
    options = argparse.ArgumentParser()
    options.add_argument("clips", type=Path)
    options.add_argument("checkpoint", type=Path)
    options.add_argument("--steps", type=int, default=13200)
    options.add_argument("--settle", type=int, default=9600, help="steps at the end in which the rate falls")
    options.add_argument("--last", type=int, help="so many more steps and no others, the rate falling in all of them")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--stop-after", type=float, default=float("inf"), help="seconds, then stop where it can go on")
    options.add_argument("--processes", type=int, default=2)
    given = options.parse_args()
    multiprocessing.spawn(train, (given, free_port()), nprocs=given.processes)


if __name__ == "__main__":
    main()
