// Records the microphone.

/** The hub's default limit for a recording, with a margin. */
const LONGEST_S = 118;
const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];

/** Why there is no recording; `reason` is a key of the texts. */
export class NoMicrophone extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

/** One recording, from the microphone's permission to the finished sound. */
export class Recording {
  #stream;
  #recorder;
  #pieces = [];
  #began = performance.now();
  #finished;

  /**
   * Starts to record. `onend` is called when the limit of time is reached, or the microphone is removed.
   * @throws {NoMicrophone}
   */
  static async start(onend = () => {}) {
    if (!navigator.mediaDevices || !globalThis.MediaRecorder) throw new NoMicrophone("mic_insecure");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true } });
    } catch (error) {
      throw new NoMicrophone(error.name === "NotAllowedError" ? "mic_refused" : "mic_missing");
    }
    return new Recording(stream, onend);
  }

  constructor(stream, onend) {
    this.#stream = stream;
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    this.#recorder = new MediaRecorder(stream, mimeType && { mimeType });
    this.#recorder.ondataavailable = ({ data }) => this.#pieces.push(data);
    this.#finished = new Promise((resolve) => { this.#recorder.onstop = resolve; });
    this.#recorder.start();
    const timer = setTimeout(onend, LONGEST_S * 1000);
    this.#finished.then(() => clearTimeout(timer));
    for (const track of stream.getTracks()) track.onended = onend;
  }

  /** How long it is, in seconds. */
  get seconds() {
    return (performance.now() - this.#began) / 1000;
  }

  /** Ends the recording. */
  async finish() {
    const { seconds } = this;
    if (this.#recorder.state !== "inactive") this.#recorder.stop();
    await this.#finished;
    for (const track of this.#stream.getTracks()) track.stop();
    return { sound: new Blob(this.#pieces, { type: this.#recorder.mimeType }), seconds };
  }
}
