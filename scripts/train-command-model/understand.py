"""Which command a text is, by key words and the nearest title or name: a plain stand-in for the hub's own intents.

It serves the evaluation alone: a command counts as understood if what was recognised leads here to the intent and the
target of what was said. `python understand.py` shows how often that holds for the texts themselves.
"""

import random
import re
from difflib import SequenceMatcher
from functools import lru_cache

import sentences

TITLES = [written for written, _ in sentences.TITLES]
NAMES = [written for written, _ in sentences.NAMES]

MESSAGE = r"\b(call|talk to|message|speak to|tell \S+( \S+)? something|say (hello|hi|something) to|write to|send|leave)\b"

# What must be the same in two sums.
SUM = rf"\b(?:{'|'.join({*(word for value in range(101) for word in sentences.words.number(value).split()), 'plus', 'minus', 'times', 'divided'})})\b"

# The first that is found counts.
KEY_WORDS = [
    ("sum", r"\b(plus|minus|times|divided|add)\b|^what's \w+( \w+)? and \w+"),
    ("louder", r"\b(louder|up(?<!shut up)|can't hear|too quiet)\b"),
    ("softer", r"\b(softer|quieter|down|loud)\b(?<!something loud)"),
    ("play_number", rf"\bnumber\b|\bthe ({'|'.join(set(sentences.words.ORDINALS) - {'next'})}) (one|song|story)"),
    ("another", r"\b(another (one|song|story)|next|again|else|skip|one more|different|don't like this)\b"),
    ("date", r"\b(day|date|month|year|monday)\b"),
    ("time", r"\b(time|late)\b(?<!bedtime)"),
    ("riddle", r"\b(riddle|joke|laugh|say something funny)\b"),
    ("who", r"\b(who|name|old are you|what are you|you do|robot|my friend|you live|about you)\b"),
    ("stop", r"\b(stop|pause|enough|no more|silence|shut|quiet please|turn (it )?off|turn off|wait|hush|be quiet)\b|^quiet$"),
    ("something", r"\b(something|anything|surprise|music|song|lullaby|rhyme|tale|put on|play a|hear a|listen to a)\b"),
    ("story", r"\bstory\b"),
]


@lru_cache(None)
def targets(kind):
    return [(target, target.split()) for target in (TITLES if kind == "play" else NAMES)]


def nearest(text, kind):
    """The target that stands in the text, the longest if there are several, else the most alike; and how alike."""
    inside = [target for target, _ in targets(kind) if re.search(rf"\b{re.escape(target)}\b", text)]
    if inside:
        return max(inside, key=len), 1.0
    words = text.split()
    best, alike = "", 0.0
    for target, parts in targets(kind):
        for length in range(max(1, len(parts) - 1), len(parts) + 2):
            for start in range(len(words) - length + 1):
                matcher = SequenceMatcher(None, " ".join(words[start : start + length]), target)
                if matcher.real_quick_ratio() > alike and matcher.quick_ratio() > alike and matcher.ratio() > alike:
                    best, alike = target, matcher.ratio()
    return best, alike


def understand(text):
    """(intent, target) of a text; ("talk", "") if it is no command."""
    text = text.strip()
    if re.search(MESSAGE, text):
        name, alike = nearest(text, "message")
        if alike >= 0.6:
            return "message", name
    title, alike = nearest(text, "play")
    if alike == 1:
        return "play", title
    found = next((intent for intent, pattern in KEY_WORDS if re.search(pattern, text)), "talk")
    if found in ("something", "story", "talk") and alike >= (0.6 if found == "talk" else 0.78):
        return "play", title
    return found, " ".join(re.findall(SUM, text)) if found == "sum" else ""


def same(said, heard):
    """Whether what was heard leads to the intent and target of what was said."""
    return understand(said) == understand(heard)


if __name__ == "__main__":
    draw = random.Random(5)
    wrong = []
    for _ in range(3000):
        sentence = sentences.draw_sentence(draw, random.choice([sentences.TRAINED, sentences.HELD_OUT]), [draw.choice(sentences.COMMANDS)])
        intent, target = understand(sentence.written)
        if intent != sentence.intent or (sentence.intent in ("play", "message") and target != sentence.target):
            wrong.append((sentence.written, sentence.intent, sentence.target, intent, target))
    print(f"{len(wrong)} of 3000 wrong")
    for line in wrong[:25]:
        print(*line, sep=" | ")
