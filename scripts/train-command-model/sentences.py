"""Sentences that a child says to its toy, as a small grammar.

A sentence has its intent and its target, so that an evaluation can measure commands, not only words. Templates of
HELD_OUT are never trained on.
"""

import random
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import words

TITLES = words.entries(words.TITLES)
FAMILY = words.entries(words.FAMILY)
CHILDREN = words.entries(words.CHILDREN)
TOYS = words.entries(words.TOYS)
NAMES = FAMILY + CHILDREN + TOYS
LISTS = {
    "noun": words.entries(words.NOUNS),
    "adjective": words.entries(words.ADJECTIVES),
    "verb": words.entries(words.VERBS),
    "place": words.entries(words.PLACES),
    "kind": words.entries(words.KINDS),
    "mood": words.entries(words.MOODS),
    "country": words.entries(words.COUNTRIES),
    "ordinal": [(word, word) for word in words.ORDINALS],
    "child": CHILDREN,
}

# Intent → templates. A slot {title} or {name} gives the target; the others only fill.
TRAINED = {
    "play": """
        play {title};play {title} please;please play {title};can you play {title};could you play {title} please;play the song {title}
        play the story {title};play the music {title};i want to hear {title};i want to listen to {title};i want {title}
        let's listen to {title};put on {title};sing {title};sing me {title};tell me the story of {title};read me {title}
        can i hear {title};i would like to hear {title};i'd like to hear {title};start {title};play {title} for me;play me {title}
        play {title} again;{title};{title} please;can we listen to {title};tell me {title};i wanna hear {title}
        """,
    "play_number": """
        play number {small};play song number {small};number {small};number {small} please;play the {ordinal} song;play the {ordinal} one
        play the {ordinal} story;song number {small};i want number {small};story number {small};can you play number {small}
        """,
    "another": """
        another one;another one please;play another one;play something else;next;next song;next one please;play the next song
        another song;another song please;another story;skip this song;skip;something else;i don't like this song;play a different song
        one more;one more song;one more time;again;play it again;play that again
        """,
    "something": """
        something {mood};play something {mood};play something {mood} please;i want something {mood};something {mood} please;play {kind}
        play {kind} please;i want to hear {kind};i want to listen to {kind};can you play {kind};can you play something {mood};sing me {kind}
        play anything;play something;surprise me;sing a song;sing me a song;put on {kind};play some music for me;let's hear {kind}
        """,
    "stop": """
        stop;stop it;stop please;please stop;stop the music;stop the song;stop playing;be quiet;quiet please;turn it off;pause;stop now
        that's enough;enough;no more;silence;shut up;stop talking;turn off the music;stop the story;wait;hush
        """,
    "louder": """
        louder;louder please;play louder;make it louder;turn it up;turn up the volume;volume up;i can't hear you;i can't hear it
        a bit louder;a little louder please;much louder;speak louder;too quiet;it is too quiet;turn the music up
        """,
    "softer": """
        softer;softer please;quieter;quieter please;make it quieter;turn it down;turn down the volume;volume down;not so loud
        it is too loud;too loud;a bit softer;a little quieter please;that's too loud;be quieter;turn the music down;make it softer
        """,
    "message": """
        send a message to {name};send {name} a message;i want to send a message to {name};i want to talk to {name};talk to {name}
        call {name};call {name} please;please call {name};can you call {name};can i talk to {name};can i call {name};message {name}
        a message for {name};i have a message for {name};tell {name} something;i want to tell {name} something;i want to speak to {name}
        speak to {name};say hello to {name};say hi to {name};i want to call {name};record a message for {name};let me talk to {name}
        send a message to {name} please;message to {name};write to {name};leave a message for {name};send something to {name}
        """,
    "time": """
        what time is it;what's the time;what time is it now;tell me the time;do you know what time it is;can you tell me the time;the time please
        what is the time;how late is it
        """,
    "date": """
        what day is it;what day is it today;what day is today;what's the date;what is the date today;what date is it;tell me the date
        which day is it;what month is it;what year is it;what day is tomorrow;is it monday today
        """,
    "sum": """
        what is {number} plus {number};what is {number} minus {number};what is {number} times {number};what's {number} plus {number}
        what's {number} and {number};how much is {number} plus {number};how much is {number} minus {number};{number} plus {number}
        {number} times {number};{number} minus {number};how much is {number} times {number};what is {number} divided by {number}
        can you add {number} and {number};what does {number} plus {number} make
        """,
    "story": """
        tell me a story;tell me a story please;i want a story;i want to hear a story;can you tell me a story;read me a story;a story please
        tell me a bedtime story;tell a story;story please;tell me another story;tell me a story about a {noun};please tell me a story
        """,
    "riddle": """
        tell me a riddle;tell me a joke;do you know a joke;do you know a riddle;i want a riddle;a riddle please;tell me another riddle
        tell me a funny joke;make me laugh;can you tell me a joke;give me a riddle;say something funny;ask me a riddle;another joke
        """,
    "who": """
        who are you;what are you;what is your name;what's your name;how old are you;what can you do;are you a robot;who made you
        are you my friend;where do you live;tell me about you;do you have a name
        """,
    "talk": """
        hello;hi;good morning;good night;good evening;goodbye;bye bye;thank you;thanks;yes;no;yes please;no thank you;okay;how are you;i love you
        i am tired;i am hungry;i am sad;i am happy;i am scared;i'm bored;i'm {adjective};i like you;are you {adjective};i can {verb};can you {verb}
        why is the sky blue;why is the {noun} {adjective};what is a {noun};where is the {noun};where is {child};what does the {noun} say
        how big is a {noun};can a {noun} {verb};do you like {noun}s;i like the {noun};i want a {noun};what colour is the {noun}
        where do {noun}s live;what do {noun}s eat;is it raining;will it rain tomorrow;how is the weather;what is the weather like
        let's {verb};let's play a game;let's go to {place};i want to go to {place};i want to {verb};i don't want to {verb};my name is {child}
        i am {small} years old;this is my {adjective} {noun};i have a {adjective} {noun};the {noun} is {adjective};there is a {noun} in {place}
        what is the capital of {country};where is {country};how do you spell {noun};count to {number};when is my birthday;happy birthday
        do you want to {verb} with me;{child} is my friend;i miss {child};i see a {adjective} {noun};the {adjective} {noun} can {verb}
        what is bigger the {noun} or the {noun};are we at {place};who is {child};how many legs does a {noun} have;what comes after {number}
        good night {child};hello {child};help me;i can't sleep;i had a bad dream;where are my {noun}s;sing with me;dance with me;i really like you;come and play with us;tell us a {noun} story
        """,
    "remind": """
        remind me in {small} minutes to {verb};remind me in {small} minutes;remind me at {small} to {verb};wake me at {small};wake me up at {small}
        set a timer for {small} minutes;set a timer;start a timer for {number} minutes;set an alarm for {small};set a timer for half an hour
        remind me tomorrow to {verb};remind me to {verb} in an hour;wake me up tomorrow at {small};remind me at half past {small} to {verb}
        set an alarm for {small} in the morning;don't let me forget to {verb};remind me to brush my teeth;remind me to feed the {noun} at {small}
        """,
    # Invented titles and loose words, so that the decoder learns words, not only sentences.
    "play_free": """
        play the {adjective} {noun};play {noun} and {noun};play the {noun} and the {noun};i want to hear the {adjective} {noun}
        play the {noun} song;tell me the story of the {adjective} {noun};play my {noun};play the {noun} in {place}
        """,
    "loose": """
        {noun} {noun} {noun};{adjective} {noun} {verb};{verb} the {noun};{child} and {child};{number};{number} {number} {number};{noun};{adjective}
        {name};{name} and {name};{small} {noun}s;{ordinal} {noun};{name} {verb} {noun};{title} {name};from {place} to {place};{country} and {country}
        """,
}

HELD_OUT = {
    "play": "would you play {title} for me;i really want to hear {title} now;hey play {title} please;let me hear {title};play us {title}",
    "play_number": "please play song number {small};i want the {ordinal} song",
    "another": "can i have another one;play the next one please;i want another song",
    "something": "please play something {mood} for me;i would like something {mood}",
    "stop": "stop it please;can you stop the music;stop that",
    "louder": "can you make it louder;please turn it up",
    "softer": "can you make it quieter;please turn it down",
    "message": "please send a message to {name};can you send {name} a message;i would like to talk to {name};let's call {name};i want to say something to {name}",
    "time": "can you tell me what time it is;please tell me the time",
    "date": "can you tell me what day it is;do you know what day it is today",
    "sum": "can you tell me what {number} plus {number} is;tell me how much is {number} minus {number}",
    "story": "would you tell me a story;i would like a story please",
    "riddle": "please tell me a riddle;would you tell me a joke",
    "who": "tell me who you are;do you know who you are",
    "talk": "do you know what a {noun} is;can we go to {place};my {noun} is very {adjective};why can't i {verb}",
}

# Words of children around a command. With the templates and loose words they make sentences beyond any list; a decoder
# that was trained only on lists writes the nearest of those for any recording.
BEFORE = """
please;can you;could you;would you;will you;can you please;could you please;i want you to;hey;hello;okay;now;let's;i want to
do you know;tell me;can you tell me;may i;i really want to;i'd like to;i would like to;come on;let me;let us;and;we want to
don't;teddy;hey teddy;it is time to;yes;no;can we;could we;i like to;good morning;thank you
"""
AFTER = """
please;now;for me;for us;again;today;and stop;okay;if you can;one more time;a bit;too;tomorrow;and sing;my friend;is;first
thank you;very loud;with me;at home;teddy;and dance;will you;can you;enough;one more
"""

# How often each intent is drawn for training; free and loose sentences teach the sounds of all words.
WEIGHTS = {"play": 24, "message": 22, "phrase": 14, "talk": 16, "loose": 14, "play_free": 7, "sum": 6, "something": 5, "play_number": 4}

# The commands of an evaluation: sentences that the hub executes, or answers by itself.
COMMANDS = [intent for intent in HELD_OUT if intent != "talk"]


LANGUAGE = Path(__file__).resolve().parents[2] / "src/ports/speech/languages/en.rs"
FORTUNES = Path("/usr/share/games/fortunes")


def phrases():
    """The hub's own phrases that have no title, friend or number in them."""
    found = re.findall(r'"([^"]+)"', LANGUAGE.read_text().partition("const PHRASES")[2])
    return sorted({phrase for phrase in found if re.fullmatch("[a-z' ]+", phrase)})


TRAINED["phrase"] = ";".join(phrases())


@lru_cache(1)
def general():
    """Short sentences about anything, of Debian's package `fortunes`."""
    found = set()
    for name in "cookie fortunes kids food love wisdom work pets miscellaneous literature riddles sports people".split():
        for sentence in re.split(r"[.!?;:()\"]|--|%|\n\s*\n", (FORTUNES / name).read_text(errors="replace")):
            sentence = " ".join(sentence.lower().split())
            if re.fullmatch(r"[a-z]+('[a-z]+)?( [a-z]+('[a-z]+)?)*", sentence.replace(",", "")) and 3 <= len(sentence.split()) <= 10:
                found.add(sentence.replace(",", ""))
    return sorted(found)


def draw_general(draw):
    text = draw.choice(general())
    return Sentence(text, text, "general", "", text)


@dataclass(frozen=True)
class Sentence:
    """A sentence as written and as spelled for the synthesiser, with its intent and target."""

    written: str
    spoken: str
    intent: str
    target: str
    template: str


def templates(block):
    return [entry.strip() for entry in block.replace("\n", ";").split(";") if entry.strip()]


def fill(template, intent, draw):
    """Fills the slots of a template; `draw` is a random.Random."""
    written, spoken, target = template, template, ""
    while "{" in written:
        slot = written[written.index("{") + 1 : written.index("}")]
        if slot == "title":
            pair = draw.choice(TITLES)
        elif slot == "name":
            pair = draw.choice(draw.choices([FAMILY, CHILDREN, TOYS], [3, 5, 4])[0])
        elif slot == "number":
            value = words.number(draw.randint(0, 12) if draw.random() < 0.7 else draw.randint(13, 100))
            pair = (value, value)
        elif slot == "small":
            value = words.number(draw.randint(1, 20))
            pair = (value, value)
        else:
            pair = draw.choice(LISTS[slot])
        if slot in ("title", "name"):
            target = pair[0]
        written = written.replace("{%s}" % slot, pair[0], 1)
        spoken = spoken.replace("{%s}" % slot, pair[1], 1)
    return Sentence(written, spoken, intent, target, template)


def draw_sentence(draw, table, intents=None):
    """One sentence of a table of templates, intents drawn by WEIGHTS."""
    intents = intents or list(table)
    intent = draw.choices(intents, [WEIGHTS.get(name, 3) for name in intents])[0]
    return fill(draw.choice(templates(table[intent])), intent, draw)


SLOTS = "{title} {name} {number} {small} {noun} {adjective} {verb} {place} {child} {ordinal} {kind} {mood}".split()
PLAIN_WORDS = sorted({word for block in TRAINED.values() for word in block.replace(";", " ").split() if "{" not in word})
NEVER_TRAINED = {template for block in HELD_OUT.values() for template in templates(block)}


def draw_mixed(draw):
    """A sentence of parts: a template with more around it, two halves that do not belong together, or any words."""

    def some():
        intent = draw.choices(list(TRAINED), [WEIGHTS.get(name, 3) for name in TRAINED])[0]
        return draw.choice(templates(TRAINED[intent]))

    kind = draw.random()
    if kind < 0.45:
        around = [draw.choice(templates(block)) if draw.random() < share else "" for block, share in ((BEFORE, 0.7), (AFTER, 0.5))]
        template = f"{around[0]} {some()} {around[1]}".strip()
    elif kind < 0.75:
        one, other = some().split(), some().split()
        template = " ".join(one[: draw.randint(1, len(one))] + other[draw.randint(0, len(other) - 1) :])
    else:
        words_of = [PLAIN_WORDS if draw.random() < 0.6 else SLOTS for _ in range(draw.randint(1, 6))]
        template = " ".join(draw.choice(choice) for choice in words_of)
    return draw_mixed(draw) if template in NEVER_TRAINED else fill(template, "mixed", draw)


if __name__ == "__main__":
    source = random.Random(1)
    for _ in range(30):
        print(draw_sentence(source, TRAINED))
    print(len(TITLES), "titles,", len(NAMES), "names")
