"""The process that speaks with voices of Piper for the hub, which starts it as `python -c` with this text.

Arguments: the threads of a sentence, and how many voices are kept in memory. A request is one line of JSON with `voice`
(the file of a voice), `text` and `length_scale` (2 is half as fast). The answer is one line, and samples after it:

    ok RATE BYTES       then BYTES of samples, 16 bits each, little endian, one channel; without a text there are none
    error REASON        this request failed, the next one may not
    fatal REASON        the process ends

The text is never part of a reason.
"""

import json
import os
import sys
from collections import OrderedDict

# Whatever a library prints must not get among the answers.
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)


def answer(head, samples=b""):
    answers.write(" ".join(head.split()).encode("ascii", "replace")[:200] + b"\n" + samples)
    answers.flush()


try:
    # As much lower than the hub's own priority as that of its speech recognition.
    os.nice(5)
    import onnxruntime
    from piper import PiperVoice, SynthesisConfig
    from piper.config import PiperConfig
except Exception as error:
    answer(f"fatal {type(error).__name__}: {error}")
    sys.exit(1)

threads, voices_max = int(sys.argv[1]), int(sys.argv[2])
voices = OrderedDict()


def load(path):
    with open(path + ".json", encoding="utf-8") as file:
        config = PiperConfig.from_dict(json.load(file))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait give their processor to others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, sess_options=options, providers=["CPUExecutionProvider"])
    return PiperVoice(session=session, config=config)


def voice_of(path):
    if path not in voices:
        voices[path] = load(path)
        if len(voices) > voices_max:
            voices.popitem(last=False)
    voices.move_to_end(path)
    return voices[path]


for line in sys.stdin.buffer:
    request = json.loads(line)
    try:
        voice = voice_of(request["voice"])
    except Exception as error:
        answer(f"error the voice cannot be loaded: {type(error).__name__}: {error}")
        continue
    try:
        scale = voice.config.length_scale * request["length_scale"]
        chunks = voice.synthesize(request["text"], SynthesisConfig(length_scale=scale)) if request["text"] else ()
        samples = b"".join(chunk.audio_int16_array.astype("<i2").tobytes() for chunk in chunks)
    except Exception as error:
        answer(f"error the text cannot be spoken: {type(error).__name__}")
        continue
    answer(f"ok {voice.config.sample_rate} {len(samples)}", samples)
