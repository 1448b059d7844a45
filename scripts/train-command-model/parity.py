"""Compares the results of whisper.cpp and PyTorch: the first logits of some clips, for a checkpoint or random weights.

    parity.py CLIPS LOGITS [CHECKPOINT]

LOGITS is the program that `build-logits` makes.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torch

import export
import sound
import speak
import tokens
from model import NO_TIMESTAMPS, SOT, Model, Shape, rebuild

# The permitted difference of a logit, as a share of the spread: f16 and q8_0 round.
ALLOWED = {"f16": 0.02, "q8_0": 0.25}


def first_logits(model, clip):
    """As whisper.cpp: at least a second, padded to the whole window."""
    clip = numpy.pad(clip.astype(numpy.float32) / 32768, (0, max(0, 16000 - len(clip))))
    mel, silence = sound.log_mel(clip)
    window = numpy.full((1, 2 * model.shape.audio_ctx, 80), silence, numpy.float32)
    window[0, : len(mel)] = mel
    rows = torch.tensor([[model.decoder.known.index(SOT), model.decoder.known.index(NO_TIMESTAMPS)]])
    with torch.no_grad():
        return model.decoder(rows, model.encoder(torch.from_numpy(window)))[0, -1].numpy()


def main():
    clips, logits, *checkpoint = sys.argv[1:]
    if checkpoint:
        saved = torch.load(checkpoint[0], weights_only=True)
        model = rebuild(saved["described"], saved["weights"])
    else:
        torch.manual_seed(3)
        model = Model(Shape(), tokens.known_tokens(), len(tokens.LETTERS)).eval()
    described, samples = speak.load_set(clips, "voices")
    orders = "".join(f"{d['offset']} {d['samples']}\n" for d in described[:4])
    unknown = numpy.setdiff1d(numpy.arange(51864), model.decoder.known)
    for kind, allowed in ALLOWED.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.bin"
            export.export(model, path, kind)
            command = [logits, path, Path(clips) / "voices-000.i16"]
            answer = subprocess.run(command, input=orders, capture_output=True, text=True, check=True)
        for d, line in zip(described, answer.stdout.splitlines(), strict=False):
            theirs = numpy.array(line.split(), float)
            ours = first_logits(model, samples[d["offset"] : d["offset"] + d["samples"]])
            off = numpy.abs(theirs[model.decoder.known] - ours[:-1]).max()
            spread = ours[:-1].std()
            print(f"{kind}: off by {off:.4f} of a spread of {spread:.3f}; tokens that never occur at most {theirs[unknown].max():.1f}")
            if off > allowed * spread or theirs[unknown].max() > ours[:-1].max() - 5:
                sys.exit("whisper.cpp and PyTorch do not agree")


if __name__ == "__main__":
    main()
