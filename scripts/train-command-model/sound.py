"""Changes a clip before the model gets it: rooms, noise, gain, silence, cuts; and whisper's log mel spectrum.

Also makes sounds without speech, which must have no answer. `rng` is a numpy Generator, samples are floats
between -1 and 1 at 16 kHz.
"""

from functools import lru_cache

import numpy

import places

RATE = 16000
HOP = 160
WINDOW = 400


# --- The spectrum ---------------------------------------------------------------------------------------------------


@lru_cache(1)
def mel_filters():
    return numpy.load(places.ASSETS / "mel_filters.npz")["mel_80"].astype(numpy.float32)


HANN = (0.5 * (1 - numpy.cos(2 * numpy.pi * numpy.arange(WINDOW) / WINDOW))).astype(numpy.float32)


def log_mel(samples):
    """(frames, 80) as whisper.cpp computes it, and the value of the silence it pads with."""
    samples = numpy.asarray(samples, numpy.float32)
    padded = numpy.concatenate([samples[200:0:-1], samples, numpy.zeros(WINDOW, numpy.float32)])
    count = (len(samples) + 200) // HOP + 1
    frames = numpy.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: count * HOP : HOP]
    power = numpy.abs(numpy.fft.rfft(frames * HANN)).astype(numpy.float32) ** 2
    mel = numpy.log10(numpy.maximum(power @ mel_filters().T, 1e-10))
    floor = mel.max() - 8
    return (numpy.maximum(mel, floor) + 4) / 4, float((max(-10, floor) + 4) / 4)


# --- Sounds that are not speech -------------------------------------------------------------------------------------


def coloured(rng, count, slope):
    """Noise whose power falls by frequency^slope: 0 is white, 1 pink, 2 brown."""
    size = 1 << max(4, int(count - 1).bit_length())
    spectrum = numpy.fft.rfft(rng.standard_normal(size, numpy.float32))
    spectrum *= numpy.maximum(numpy.arange(len(spectrum), dtype=numpy.float32), 1) ** (-slope / 2)
    return normal(numpy.fft.irfft(spectrum, size)[:count])


def normal(samples):
    return samples / (numpy.sqrt(numpy.mean(samples**2)) + 1e-9)


def hum(rng, count):
    """Mains hum with its harmonics, and a little hiss."""
    time = numpy.arange(count) / RATE
    base = rng.choice([50, 60, rng.uniform(80, 300)])
    tones = sum(rng.uniform(0, 1) / k * numpy.sin(2 * numpy.pi * base * k * time + rng.uniform(0, 6)) for k in range(1, 8))
    return normal(normal(tones) + rng.uniform(0, 0.3) * rng.standard_normal(count))


def music(rng, count):
    """Notes or chords of a plucked or blown sound, as a music box or a toy piano plays them."""
    out = numpy.zeros(count)
    length = int(rng.uniform(0.12, 0.6) * RATE)
    scale = numpy.array([0, 2, 4, 5, 7, 9, 11, 12])
    root = rng.integers(45, 76)
    decay = rng.uniform(0, 6)
    harmonics = rng.uniform(0, 0.8, 5) ** numpy.arange(1, 6)
    for start in range(-int(rng.integers(0, length)), count, length):
        if rng.random() < 0.12:
            continue
        ring = min(int(length * rng.uniform(1, 2.5)), count - start)
        time = numpy.arange(ring) / RATE
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            frequency = 440 * 2 ** ((root + rng.choice(scale) - 69) / 12)
            tone = sum(h * numpy.sin(2 * numpy.pi * frequency * (k + 1) * time) for k, h in enumerate([1.0, *harmonics]) if frequency * (k + 1) < 7800)
            tone *= numpy.exp(-decay * time) * numpy.minimum(1, time * 150) * numpy.minimum(1, time[::-1] * 60)
            begin = max(0, start)
            out[begin : start + ring] += tone[begin - start :]
    return normal(out + 1e-4 * rng.standard_normal(count))


def bursts(rng, count):
    """Knocks, clicks, rubbing and breath: noise with a shape in time and in frequency."""
    out = numpy.zeros(count)
    for _ in range(rng.integers(1, 8)):
        length = int(rng.uniform(0.005, 0.5) * RATE)
        start = rng.integers(0, max(1, count - length))
        piece = coloured(rng, length, rng.uniform(-1, 2)) * numpy.hanning(length) ** rng.uniform(0.2, 2)
        if rng.random() < 0.4:
            piece *= numpy.exp(-numpy.arange(length) / (rng.uniform(0.002, 0.05) * RATE))
        out[start : start + length] += rng.uniform(0.2, 1) * piece[: count - start]
    return normal(out + rng.uniform(0, 0.02) * rng.standard_normal(count))


NOT_SPEECH = {
    "silence": lambda rng, count: numpy.zeros(count),
    "faint": lambda rng, count: coloured(rng, count, rng.uniform(0, 2)) * 1e-3,
    "white": lambda rng, count: rng.standard_normal(count),
    "coloured": lambda rng, count: coloured(rng, count, rng.uniform(0, 2.2)),
    "hum": hum,
    "music": music,
    "bursts": bursts,
}


def not_speech(rng, kind, seconds):
    """A clip of one kind of sound without speech."""
    samples = NOT_SPEECH[kind](rng, int(seconds * RATE))
    if kind not in ("silence", "faint"):
        samples = samples * 10 ** (rng.uniform(-50, -12) / 20)
    return to_16_bit(samples)


def to_16_bit(samples):
    return (numpy.clip(numpy.round(samples * 32768), -32768, 32767) / 32768).astype(numpy.float32)


# --- Speech in the world --------------------------------------------------------------------------------------------


def through_a_room(rng, samples):
    """Echoes of a small room and the uneven response of a cheap microphone, both at once in the spectrum."""
    tail = int(rng.uniform(0.05, 0.45) * RATE)
    room = rng.standard_normal(tail) * numpy.exp(-6.9 * numpy.arange(tail) / tail) * rng.uniform(0.005, 0.09)
    room[: int(rng.uniform(0.001, 0.01) * RATE)] = 0
    room[0] = 1
    size = 1 << int(len(samples) + tail - 1).bit_length()
    spectrum = numpy.fft.rfft(samples, size) * (numpy.fft.rfft(room, size) if rng.random() < 0.6 else 1)
    if rng.random() < 0.6:
        octaves = numpy.log2(numpy.maximum(numpy.arange(len(spectrum)) * RATE / size, 20) / 1000)
        gain = rng.uniform(-5, 5) * octaves / 3 + rng.uniform(-4, 4) * numpy.sin(octaves * rng.uniform(1, 4) + rng.uniform(0, 6))
        gain -= 18 * numpy.maximum(0, numpy.log2(rng.uniform(60, 350)) - numpy.log2(1000) - octaves)
        gain -= 18 * numpy.maximum(0, octaves - numpy.log2(rng.uniform(2.8, 8)))
        spectrum *= 10 ** (gain / 20)
    return numpy.fft.irfft(spectrum, size)[: len(samples) + tail // 2]


def heard(rng, samples, other=None, calm=False, late=False):
    """A clip as a toy's microphone may record it; `other` is speech in the background, `late` starts up to 3 s later."""
    samples = samples.astype(numpy.float64) / 32768
    if rng.random() < 0.5:
        factor = rng.uniform(0.85, 1.2)
        samples = numpy.interp(numpy.arange(0, len(samples) - 1, factor), numpy.arange(len(samples)), samples)
    if rng.random() < 0.04:
        samples = samples[int(rng.uniform(0, 0.07) * RATE) :]
    if rng.random() < (0.2 if calm else 0.5):
        samples = through_a_room(rng, samples)
    before = rng.uniform(0, 3) if late else rng.uniform(0, 0.4)
    after = rng.uniform(0, 0.3)
    room = int(8.5 * RATE) - len(samples)
    before = min(int(before * RATE), max(0, room))
    samples = numpy.concatenate([numpy.zeros(before), samples, numpy.zeros(int(after * RATE))])
    samples = normal(samples)
    if rng.random() < (0.4 if calm else 0.7):
        kind = rng.choice(["white", "coloured", "coloured", "hum", "music", "bursts", "talk"])
        quieter_db = rng.uniform(12, 45) if calm or kind in ("music", "talk") else rng.uniform(4, 40)
        if kind == "talk":
            noise = numpy.resize(other if other is not None else rng.standard_normal(len(samples)), len(samples)).astype(numpy.float64)
            noise = normal(noise)
        else:
            noise = NOT_SPEECH[kind](rng, len(samples))
        samples = samples + noise * 10 ** (-quieter_db / 20)
    peak = numpy.abs(samples).max() + 1e-9
    return to_16_bit(samples / peak * 10 ** (rng.uniform(-30, 1) / 20))
