// Reads QR codes: from the camera, or from a picture. Loaded only when it is used, as the reader is large.

const LONGEST_SIDE = 1000;
const PAUSE_MS = 150;

async function reader() {
  await import("./vendor/jsqr.js");
  return globalThis.jsQR;
}

/** The text of a code in this frame, or undefined. */
function found(jsQR, source, width, height) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(width, height));
  const canvas = Object.assign(document.createElement("canvas"), { width: width * scale, height: height * scale });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return jsQR(data, canvas.width, canvas.height)?.data || undefined;
}

/** The text of the code in a picture, or undefined. */
export async function read(file) {
  const jsQR = await reader();
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    return undefined;
  }
  return found(jsQR, picture, picture.width, picture.height);
}

/** Shows the camera in `video` and calls `onfound` with the text of the first code; gives what ends it. */
export async function watch(video, onfound) {
  const jsQR = await reader();
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  const stop = () => {
    clearInterval(timer);
    for (const track of stream.getTracks()) track.stop();
  };
  const timer = setInterval(() => {
    if (!video.videoWidth) return;
    const text = found(jsQR, video, video.videoWidth, video.videoHeight);
    if (!text) return;
    stop();
    onfound(text);
  }, PAUSE_MS);
  video.srcObject = stream;
  await video.play();
  return stop;
}
