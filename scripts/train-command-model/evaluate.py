"""How well a model file hears, with whisper.cpp as the hub uses it.

    evaluate.py MODEL CLIPS RECOGNISER [--list FILE] [--limit N]

For each set of clips that was never trained on, clean and as a toy's microphone may hear it: word error rate, sentences
without an error, commands that lead to the right intent and target. Then the share of clips without speech that give
any word. `--list` writes what was said and heard, one line a clip.
"""

import argparse
import statistics
import subprocess
import tempfile

import numpy

import sentences
import sound
import speak
import tokens
import understand

SETS = {
    "voices": "trained sentences, voices never heard",
    "templates": "sentences never heard, trained voices",
    "both": "sentences and voices never heard",
}


def recognise(given, clips, *options):
    """(milliseconds, least probability, text) of each clip, which are floats."""
    with tempfile.NamedTemporaryFile(suffix=".i16") as file:
        orders, offset = [], 0
        for clip in clips:
            file.write((clip * 32767).astype("<i2").tobytes())
            orders.append(f"{offset} {len(clip)}\n")
            offset += len(clip)
        file.flush()
        command = [given.recogniser, given.model, file.name, *options]
        answer = subprocess.run(command, input="".join(orders), capture_output=True, text=True, check=True)
    lines = [line.split("\t") for line in answer.stdout.splitlines()]
    return [(float(ms), float(least), text.strip(" .")) for ms, _, least, text in lines]


def word_errors(said, heard):
    """Words to change, add or leave out."""
    said, heard = said.split(), heard.split()
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def report(title, described, answers):
    errors = sum(word_errors(d["written"], text) for d, (_, _, text) in zip(described, answers))
    words = sum(len(d["written"].split()) for d in described)
    exact = statistics.mean(d["written"] == text for d, (_, _, text) in zip(described, answers))
    commands = [(d, text) for d, (_, _, text) in zip(described, answers) if d["intent"] in sentences.COMMANDS]
    right = statistics.mean(understand.same(d["written"], text) for d, text in commands)
    print(f"{title:62} {100 * errors / words:6.1f} % {100 * exact:6.1f} % {100 * right:6.1f} %", flush=True)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("model")
    options.add_argument("clips")
    options.add_argument("recogniser")
    options.add_argument("--list")
    options.add_argument("--limit", type=int, default=500, help="clips of each set")
    given = options.parse_args()

    listed, times = [], []
    prompt = ", ".join(tokens.titled(written) for written, _ in sentences.TITLES[:6] + sentences.FAMILY[:4] + sentences.TOYS[:4])
    print(f"{'':62} {'wrong words':>8} {'exact':>6} {'commands':>9}")
    for name, meaning in SETS.items():
        described, samples = speak.load_set(given.clips, name)
        described = described[: given.limit]
        clips = [samples[d["offset"] : d["offset"] + d["samples"]] for d in described]
        clean = [numpy.pad(clip.astype(numpy.float32) / 32768, 4800) for clip in clips]
        noisy = [sound.heard(numpy.random.default_rng([3, i]), clip, clips[i - 1], late=i % 4 == 0) for i, clip in enumerate(clips)]
        for kind, heard, extra in (("clean", clean, []), ("noise, room", noisy, []), ("clean, with a prompt", clean, ["--prompt", prompt])):
            answers = recognise(given, heard, *extra)
            report(f"{meaning}, {kind}", described, answers)
            times += [ms for ms, _, _ in answers]
            listed += [(name, kind, d["intent"], d["voice"], d["written"], text, least) for d, (_, least, text) in zip(described, answers)]

    print(f"\n{'sounds without speech that give any word':62} {'blank suppressed':>17} {'blank kept':>11}")
    for kind in sound.NOT_SPEECH:
        rng = numpy.random.default_rng([5, list(sound.NOT_SPEECH).index(kind)])
        clips = [sound.not_speech(rng, kind, rng.uniform(1, 6)) for _ in range(40)]
        shares = []
        for extra in ([], ["--keep-blank"]):
            answers = recognise(given, clips, *extra)
            shares.append(100 * statistics.mean(bool(text) for _, _, text in answers))
            listed += [("none", kind, "", "", "", text, least) for _, least, text in answers]
        print(f"{kind:62} {shares[0]:15.1f} % {shares[1]:9.1f} %", flush=True)

    times.sort()
    print(f"\none thread: {times[len(times) // 2]:.0f} ms a clip, p95 {times[len(times) * 95 // 100]:.0f} ms")
    if given.list:
        with open(given.list, "w", encoding="utf-8") as file:
            file.writelines("\t".join(map(str, line)) + "\n" for line in listed)


if __name__ == "__main__":
    main()
