"""The accuracy of a model, measured by the hub's own recogniser and intents.

    evaluate.py MODEL CLIPS SPEECH [--list FILE] [--limit N]

SPEECH is the program of benches/speech. For each set of clips that was never trained on, clean and as a toy's
microphone may record it: word error rate, sentences without an error, and commands that lead to the right intent and
target, for a toy with 40 songs and 12 friends. Then the share of clips without speech that give any word, and of those
that lead to any command. `--list` writes the spoken and the recognised text, one line for each clip.
"""

import argparse
import json
import random
import re
import statistics
import subprocess
import tempfile

import numpy

import sentences
import sound
import speak
import words

SETS = {
    "voices": "trained sentences, untrained voices",
    "templates": "untrained sentences, trained voices",
    "both": "untrained sentences and voices",
}

SONGS, FRIENDS = 40, 12

# The intents of the hub that are right for an intent of the grammar. The reply engine answers Unknown, such as jokes.
MEANT = {
    "play": {"Play"},
    "play_number": {"PlayNumber", "PlayAnother"},
    "another": {"PlayAnother", "PlayAgain", "Story", "Unknown"},
    "something": {"PlayAny", "PlayQuiet", "Story", "Play"},
    "stop": {"Stop"},
    "louder": {"Louder"},
    "softer": {"Softer"},
    "message": {"Message"},
    "time": {"Time"},
    "date": {"Date"},
    "sum": {"Sum"},
    "story": {"Story"},
    "riddle": {"Riddle", "Unknown"},
    "who": {"WhoAreYou", "Unknown"},
}

NOTHING = ["Unknown", None]


def understood(given, clips, described):
    """The results of the hub for clips of floats; see benches/speech/understand.rs."""
    with tempfile.NamedTemporaryFile(suffix=".i16") as file:
        orders, offset = [], 0
        for number, (clip, said) in enumerate(zip(clips, described)):
            file.write((clip * 32767).astype("<i2").tobytes())
            orders.append(json.dumps({"offset": offset, "count": len(clip), "text": said["written"]} | known(number, said)) + "\n")
            offset += len(clip)
        file.flush()
        command = [given.speech, "understand", given.model, file.name]
        answer = subprocess.run(command, input="".join(orders), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    # Without words an answer has only the reason.
    nothing = {"heard": None, "intent": None, "said": NOTHING, "why": None, "confidence": 0}
    return [nothing | json.loads(line) for line in answer.stdout.splitlines()]


def known(number, said):
    """The songs and friends of a toy, including the spoken one."""
    draw = random.Random(f"known {number}")

    def some(pairs, count, intent):
        chosen = draw.sample([written for written, _ in pairs], count)
        if said["intent"] == intent and said["target"] not in chosen:
            chosen[0] = said["target"]
        draw.shuffle(chosen)
        return chosen

    return {"titles": some(sentences.TITLES, SONGS, "play"), "friends": some(sentences.NAMES, FRIENDS, "message")}


def is_right(said, answer):
    """Whether the hub would carry out the right command."""
    intent, target = answer["intent"] or NOTHING
    if intent not in MEANT[said["intent"]]:
        return False
    if said["intent"] in ("play", "message"):
        return target == said["target"]
    if intent in ("PlayNumber", "Sum"):
        return target == value(said)
    # The reply engine needs all words. Any other intent is right if the written sentence has the same one.
    return (answer["heard"] or "").strip() == said["written"] if intent == "Unknown" else answer["intent"] == answer["said"]


def is_command(said):
    """Whether the hub has a command for it: it knows no last song."""
    return said["intent"] in sentences.COMMANDS and not (said["intent"] == "play_number" and "last" in said["written"])


def value(said):
    """The number that a sentence names, or that its sum has."""
    numbers = {words.number(n): n for n in range(101)} | {word: n for n, word in enumerate(words.ORDINALS, 1)} | {"hundred": 100}
    longest = sorted(numbers, key=len, reverse=True)
    found = [numbers[word] for word in re.findall(rf"\b(?:{'|'.join(longest)})\b", said["written"])]
    if said["intent"] == "play_number":
        return found[0]
    for word, work in (("minus", int.__sub__), ("times", int.__mul__)):
        if word in said["written"]:
            return work(*found)
    if "divided" in said["written"]:
        return found[0] // found[1] if found[1] and found[0] % found[1] == 0 else None
    return found[0] + found[1]


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
    texts = [(said["written"], answer["heard"] or "") for said, answer in zip(described, answers)]
    errors = sum(word_errors(said, heard.strip()) for said, heard in texts)
    exact = statistics.mean(said == heard.strip() for said, heard in texts)
    commands = [(said, answer) for said, answer in zip(described, answers) if is_command(said)]
    right = statistics.mean(is_right(said, answer) for said, answer in commands)
    read = statistics.mean(is_right(said, answer | {"intent": answer["said"], "heard": said["written"]}) for said, answer in commands)
    asked = statistics.mean((answer["intent"] or NOTHING)[0].startswith("Ask") for _, answer in commands)
    strangers = sum((answer["intent"] or NOTHING)[0] == "Message" and not is_right(said, answer) for said, answer in commands)
    figures = [100 * errors / sum(len(said.split()) for said, _ in texts), 100 * exact, 100 * right, 100 * asked, 100 * read]
    print(f"{title:52}" + "".join(f"{figure:8.1f} %" for figure in figures) + f"{strangers:8}", flush=True)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("model")
    options.add_argument("clips")
    options.add_argument("speech")
    options.add_argument("--list")
    options.add_argument("--limit", type=int, default=500, help="clips of each set")
    given = options.parse_args()

    listed, times = [], []
    print(f"{'':52}{'wrong':>10}{'exact':>10}{'commands':>10}{'asked':>10}{'as text':>10}{'to other':>8}")
    print(f"{'':52}{'words':>10}{'':>10}{'right':>10}{'back':>10}{'right':>10}{'friend':>8}")
    for name, meaning in SETS.items():
        described, samples = speak.load_set(given.clips, name)
        described = described[: given.limit]
        clips = [samples[d["offset"] : d["offset"] + d["samples"]] for d in described]
        clean = [numpy.pad(clip.astype(numpy.float32) / 32768, 4800) for clip in clips]
        noisy = [sound.heard(numpy.random.default_rng([3, i]), clip, clips[i - 1], late=i % 4 == 0) for i, clip in enumerate(clips)]
        for kind, heard in (("clean", clean), ("noise, room", noisy)):
            answers = understood(given, heard, described)
            report(f"{meaning}, {kind}", described, answers)
            times += [answer["ms"] for answer in answers]
            listed += [(name, kind, said, answer) for said, answer in zip(described, answers)]

    print(f"\n{'sounds without speech: 100 clips of each kind':52}{'any word':>10}{'a command':>11}")
    nothing = {"written": "", "intent": "", "target": "", "voice": ""}
    for kind in sound.NOT_SPEECH:
        rng = numpy.random.default_rng([5, list(sound.NOT_SPEECH).index(kind)])
        clips = [sound.not_speech(rng, kind, rng.uniform(1, 6)) for _ in range(100)]
        answers = understood(given, clips, [nothing] * len(clips))
        heard = statistics.mean(answer["heard"] is not None for answer in answers)
        acted = statistics.mean((answer["intent"] or NOTHING) != NOTHING for answer in answers)
        listed += [("none", kind, nothing, answer) for answer in answers]
        print(f"{kind:52}{100 * heard:8.1f} %{100 * acted:9.1f} %", flush=True)

    times.sort()
    print(f"\none thread: {times[len(times) // 2]:.0f} ms a clip, p95 {times[len(times) * 95 // 100]:.0f} ms")
    if given.list:
        with open(given.list, "w", encoding="utf-8") as file:
            for name, kind, said, answer in listed:
                row = (name, kind, said["voice"], said["written"], answer["heard"], answer["why"], answer["intent"], answer["confidence"])
                file.write("\t".join(map(str, row)) + "\n")


if __name__ == "__main__":
    main()
