// The poses of a film by their place in it, so that it can be gone through again, and saved with
// the skeletons drawn.

const NEAR = 0.06;   // seconds: poses that close to a place are taken for it
const KINDS = [
  "video/mp4;codecs=avc1.42E01F", "video/mp4;codecs=vp09.00.10.08", "video/mp4",
  "video/webm;codecs=vp9", "video/webm",
];

export class Film {
  constructor() {
    this.results = new Map();   // place in ms -> what was found there
  }

  add(place, result) {
    this.results.set(Math.round(1000 * place), result);
  }

  // What was found nearest to a place, null if nothing was near.
  at(place) {
    let nearest = null, distance = NEAR;
    for (const [ms, result] of this.results) {
      const away = Math.abs(ms / 1000 - place);
      if (away <= distance) [nearest, distance] = [result, away];
    }
    return nearest;
  }

  // [place, result] in the order of the film.
  frames() {
    return [...this.results].map(([ms, result]) => [ms / 1000, result]).sort((one, other) => one[0] - other[0]);
  }
}

// What this browser can record: MP4 where it can, else WebM; undefined if it cannot record at all.
export const kind = () => globalThis.MediaRecorder && KINDS.find((each) => MediaRecorder.isTypeSupported(each));

// Records the canvas while `show(result)` draws frame after frame of the film, each as long as it
// lasted; what seeking takes is left out. goesOn(fraction) shows how far it is, and false ends it.
export async function recorded(film, video, canvas, show, goesOn) {
  const frames = film.frames(), parts = [];
  const stream = canvas.captureStream(0), [track] = stream.getVideoTracks();
  const recorder = new MediaRecorder(stream, { mimeType: kind(), videoBitsPerSecond: 6e6 });
  const failed = new Promise((_, fail) => { recorder.onerror = ({ error }) => fail(error ?? new Error("it cannot be recorded")); });
  const ended = new Promise((done) => { recorder.onstop = done; });
  recorder.ondataavailable = ({ data }) => parts.push(data);
  video.pause();
  recorder.start();
  recorder.pause();
  try {
    for (let n = 0; n < frames.length && goesOn(n / frames.length); n++) {
      const [place, result] = frames[n];
      await Promise.race([sought(video, place), failed]);
      await show(result);
      recorder.resume();
      track.requestFrame();
      await new Promise((done) => setTimeout(done, 1000 * lasts(frames, n)));
      recorder.pause();
    }
  } finally {
    if (recorder.state !== "inactive") recorder.stop();
    track.stop();
  }
  await Promise.race([ended, failed]);
  return new Blob(parts, { type: recorder.mimeType.split(";")[0] });
}

// Until the next frame; the last stays as long as the one before it.
function lasts(frames, n) {
  const at = Math.max(Math.min(n, frames.length - 2), 0);
  const seconds = frames.length > 1 ? frames[at + 1][0] - frames[at][0] : 1;
  return Math.min(Math.max(seconds, 0.02), 1);
}

function sought(video, place) {
  return new Promise((done) => {
    const late = setTimeout(done, 2000);
    video.addEventListener("seeked", () => { clearTimeout(late); done(); }, { once: true });
    video.currentTime = place + 0.001;   // within the frame, not at its edge
  });
}
