"""Compares the results of whisper.cpp and PyTorch: the first logits of some clips, for a model in each form of the file.

    parity.py CLIPS LOGITS START [CHECKPOINT]

LOGITS is the program that `build-logits` makes, START the file of `tiny.en` with f16 weights.
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
from model import NO_TIMESTAMPS, SOT, from_ggml, rebuild

# The permitted difference of a logit, as a share of the spread, in the middle: a form rounds, and f16 hardly. In q4_0 `tiny.en`
# itself is too different; the training makes up for that.
ALLOWED = {"f16": 0.02, "q8_0": 0.4}


def first_logits(model, clip):
    """As whisper.cpp: at least a second, padded to the whole window."""
    clip = numpy.pad(clip.astype(numpy.float32) / 32768, (0, max(0, 16000 - len(clip))))
    mel, silence = sound.log_mel(clip)
    window = numpy.full((1, 2 * model.shape.audio_ctx, 80), silence, numpy.float32)
    window[0, : len(mel)] = mel
    tokens = torch.tensor([[SOT, NO_TIMESTAMPS]])
    with torch.no_grad():
        heard = model.encoder(torch.from_numpy(window))
        return model.decoder(tokens, heard, torch.tensor([[False, True]]))[0].numpy()


def main():
    clips, logits, start, *checkpoint = sys.argv[1:]
    if checkpoint:
        saved = torch.load(checkpoint[0], weights_only=True)
        model = rebuild(saved["described"], saved["weights"])
    else:
        model = from_ggml(start).eval()
    described, samples = speak.load_set(clips, "voices")
    orders = "".join(f"{d['offset']} {d['samples']}\n" for d in described[:4])
    for kind, allowed in ALLOWED.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.bin"
            export.export(model, path, kind)
            command = [logits, path, Path(clips) / "voices-000.i16"]
            answer = subprocess.run(command, input=orders, capture_output=True, text=True, check=True)
        for d, line in zip(described, answer.stdout.splitlines(), strict=False):
            theirs = numpy.array(line.split(), float)
            ours = first_logits(model, samples[d["offset"] : d["offset"] + d["samples"]])
            off = numpy.median(numpy.abs(theirs - ours))
            print(f"{kind}: off by {off:.4f} of a spread of {ours.std():.3f}; the same first word: {theirs.argmax() == ours.argmax()}")
            if off > allowed * ours.std():
                sys.exit("whisper.cpp and PyTorch do not agree")


if __name__ == "__main__":
    main()
