"""Speaks sentences with espeak-ng and flite, and keeps the clips: 16 kHz mono, files of samples with an index beside each.

    speak.py FOLDER [--clips N] [--neural N] [--test-clips N] [--seed N]

Sets: `train`; `mixed`, whose sentences are put together from parts; `general`, sentences of Debian's `fortunes`; `neural`, all
of these by neural voices, if `neural.py` finds some; and three that are never trained on: `voices` (trained sentences, other
voices), `templates` (other sentences, trained voices) and `both`. The same seed makes the same clips. Existing files are kept.
"""

import argparse
import io
import json
import multiprocessing
import random
import subprocess
import tempfile
import wave
from functools import lru_cache
from pathlib import Path

import numpy

import sentences

RATE = 16000
PART = 1000  # clips of a file

ACCENTS = ["en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"]
VARIANTS = """m1 m2 m3 m4 m6 m7 m8 f1 f2 f5 croak klatt klatt2 klatt3 klatt4 Alex Alicia Andrea Andy Annie Denis Gene Jacky Lee
Mario Michael Mike adam antonio aunty belinda benjamin boris david ed edward grandma grandpa gustave iven john marcelo michel miguel
norbert pablo paul pedro quincy rob robert sandro shelby steph steph3 travis victor zac whisper whisperf""".split()
FLITE = ["rms", "awb"]

HELD_OUT_ACCENT = "en-us-nyc"
HELD_OUT_VARIANTS = ["f3", "f4", "m5", "anika", "caleb", "linda", "max", "steph2"]
HELD_OUT_FLITE = "slt"


def draw_voice(draw, held_out, neural=False):
    """A voice as {engine, voice, speed, pitch, higher}: what is spoken is raised in pitch and formants by the factor `higher`, as
    children are heard; it is spoken slower by the same factor."""
    higher = draw.uniform(1.08, 1.45) if draw.random() < 0.4 and not held_out else 1
    return plain_voice(draw, held_out, neural, higher) | {"higher": higher}


def plain_voice(draw, held_out, neural, slower):
    if neural:
        engine, voice = draw.choice(voices_of_neural())
        return {"engine": engine, "voice": voice, "speed": draw.uniform(0.85, 1.2) / slower, "pitch": 0}
    if held_out:
        if draw.random() < 0.15:
            return {"engine": "flite", "voice": HELD_OUT_FLITE, "speed": draw.uniform(0.9, 1.2), "pitch": 0}
        accent = draw.choice([HELD_OUT_ACCENT] + ACCENTS)
        voice = f"{accent}+{draw.choice(HELD_OUT_VARIANTS)}"
    elif draw.random() < 0.14:
        voice = draw.choice(FLITE)
        mean = {"rms": 110, "awb": 130}[voice] * draw.uniform(0.85, 1.35)
        return {"engine": "flite", "voice": voice, "speed": draw.uniform(0.8, 1.3) * slower, "pitch": round(mean)}
    else:
        accent = draw.choices(ACCENTS, [6, 4, 2, 2, 1, 1, 1])[0]
        # Every eighth is a plain voice, as programs use it that choose none.
        voice = accent if draw.random() < 0.125 else f"{accent}+{draw.choice(VARIANTS)}"
    return {"engine": "espeak-ng", "voice": voice, "speed": round(draw.randint(110, 220) / slower), "pitch": draw.randint(20, 99)}


def resample(samples, rate):
    """To 16 kHz, through the spectrum of the whole clip."""
    if rate == RATE:
        return samples
    count = len(samples) * RATE // rate
    spectrum = numpy.fft.rfft(samples)
    target = numpy.zeros(count // 2 + 1, numpy.complex128)
    shared = min(len(target), len(spectrum))
    target[:shared] = spectrum[:shared]
    return numpy.fft.irfft(target, count) * (count / len(samples))


def speak(voice, text):
    """The samples of a spoken text, as 16-bit integers with the silence around them cut to a breath."""
    if voice["engine"] == "espeak-ng":
        command = ["espeak-ng", "-v", voice["voice"], "-s", str(voice["speed"]), "-p", str(voice["pitch"]), "--stdin", "--stdout"]
        rate, samples = read_wave(subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout)
    elif voice["engine"] == "flite":
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            command = ["flite", "-voice", voice["voice"], "--setf", f"duration_stretch={voice['speed']:.2f}"]
            if voice["pitch"]:
                command += ["--setf", f"int_f0_target_mean={voice['pitch']}"]
            subprocess.run(command + ["-t", text, "-o", file.name], capture_output=True, check=True)
            rate, samples = read_wave(Path(file.name).read_bytes())
    else:
        import neural

        samples, rate = neural.speak(voice["engine"], voice["voice"], text, voice["speed"])
        samples = numpy.asarray(samples, numpy.float64)
    samples = resample(samples, round(rate * voice["higher"]))
    loudest = numpy.abs(samples).max(initial=0)
    samples = samples * (12000 / loudest) if 0 < loudest else samples
    loud = numpy.flatnonzero(numpy.abs(samples) > 200)
    if len(loud):
        samples = samples[max(0, loud[0] - 800) : loud[-1] + 1600]
    return numpy.clip(samples, -32768, 32767).astype("<i2")


def read_wave(sound):
    with wave.open(io.BytesIO(sound)) as reader:
        return reader.getframerate(), numpy.frombuffer(reader.readframes(1 << 30), "<i2").astype(numpy.float64)


@lru_cache(1)
def voices_of_neural():
    try:
        import neural
    except ImportError:
        return []
    return neural.VOICES


def trained_sentence(draw, name):
    if name == "mixed":
        return sentences.draw_mixed(draw)
    return sentences.draw_general(draw) if name == "general" else sentences.draw_sentence(draw, sentences.TRAINED)


def one_clip(order):
    """The clip of one number of a set: all of it is drawn from the seed, the set and the number."""
    seed, name, number = order
    draw = random.Random(f"{seed} {name} {number}")
    if name == "neural":
        part = draw.choices(["train", "mixed", "general"], [60, 25, 15])[0]
        sentence, voice = trained_sentence(draw, part), draw_voice(draw, False, neural=True)
        return vars(sentence) | {"voice": f"{voice['engine']} {voice['voice']}"}, speak(voice, sentence.spoken)
    if name in ("train", "mixed", "general"):
        sentence = trained_sentence(draw, name)
    else:
        # Three of four test clips are commands, all intents alike.
        intents = [draw.choice(sentences.COMMANDS if draw.random() < 0.75 else ["talk"])]
        table = sentences.TRAINED if name == "voices" else sentences.HELD_OUT
        sentence = sentences.draw_sentence(draw, table, intents)
    voice = draw_voice(draw, name in ("voices", "both"))
    return vars(sentence) | {"voice": f"{voice['engine']} {voice['voice']}"}, speak(voice, sentence.spoken)


def make_set(folder, name, count, seed):
    """Makes the parts of a set that are missing; each is there whole or not at all."""
    for part in range(0, count, PART):
        index_path = folder / f"{name}-{part // PART:03}.jsonl"
        if index_path.exists():
            continue
        orders = [(seed, name, number) for number in range(part, min(count, part + PART))]
        offset, lines = 0, []
        with open(index_path.with_suffix(".i16"), "wb") as clips, multiprocessing.Pool(2) as pool:
            for described, samples in pool.imap(one_clip, orders, chunksize=16):
                clips.write(samples.tobytes())
                lines.append(json.dumps(described | {"offset": offset, "samples": len(samples)}))
                offset += len(samples)
        index_path.write_text("\n".join(lines) + "\n")
        print(f"{name}: {part + len(lines)} of {count} clips, these take {offset / RATE / 60:.0f} minutes", flush=True)


def load_set(folder, name):
    """The descriptions of a set, and all its samples as one array."""
    described, samples, before = [], [], 0
    for index in sorted(Path(folder).glob(f"{name}-*.jsonl")):
        lines = [json.loads(line) for line in index.read_text().splitlines()]
        described += [line | {"offset": line["offset"] + before} for line in lines]
        samples.append(numpy.fromfile(index.with_suffix(".i16"), "<i2"))
        before += len(samples[-1])
    return described, numpy.concatenate(samples) if samples else numpy.zeros(0, "<i2")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--clips", type=int, default=6000, help="of train and of mixed; half as many general ones")
    options.add_argument("--neural", type=int, default=6000)
    options.add_argument("--test-clips", type=int, default=500)
    options.add_argument("--test-only", action="store_true", help="no clips to train on")
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in ("voices", "templates", "both"):
        make_set(given.folder, name, given.test_clips, given.seed)
    if not given.test_only:
        make_set(given.folder, "train", given.clips, given.seed)
        make_set(given.folder, "mixed", given.clips, given.seed)
        make_set(given.folder, "general", given.clips // 2, given.seed)
        if voices_of_neural():
            make_set(given.folder, "neural", given.neural, given.seed)


if __name__ == "__main__":
    main()
