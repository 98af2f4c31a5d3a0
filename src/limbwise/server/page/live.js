// A playing video to the server and back, picture by picture. What is shown is the picture that the
// skeletons were found in, so that they fit however slow the server is.

import { nextFrame } from "./frames.js";
import { protocols, streamAddress } from "./server.js";

const UNDER_WAY = 2;   // one that the network works on, one that waits: it never stands idle
const MAX_WIDTH = 1280;   // of what is shown

export class Live {
  // height: of the pictures that are sent, as the network takes them.
  // shown(bitmap, result, place) after each answer, `place` in the video in seconds; ended(why) once,
  // `why` empty if it was stopped.
  constructor(video, height, shown, ended) {
    Object.assign(this, { video, height, shown, ended });
    this.waiting = new Map();  // number of a sent picture -> its bitmap and place
    this.sent = 0;
    this.running = true;
    this.small = document.createElement("canvas");
    this.socket = new WebSocket(streamAddress(), protocols());
    this.socket.onopen = () => this.pump();
    this.socket.onmessage = ({ data }) => this.answered(JSON.parse(data));
    this.socket.onclose = ({ reason }) => this.stop(this.sent ? reason || "The server ended the stream." : "refused");
  }

  stop(why = "") {
    if (!this.running) return;
    this.running = false;
    this.socket.onclose = null;
    this.socket.close();
    for (const { bitmap } of this.waiting.values()) bitmap.close();
    this.waiting.clear();
    this.ended(why);
  }

  async pump() {
    while (this.running) {
      const place = await nextFrame(this.video);
      if (this.waiting.size < UNDER_WAY && this.video.readyState >= 2) await this.send(place);
    }
  }

  async send(place) {
    const { videoWidth, videoHeight } = this.video;
    const scale = Math.min(1, this.height / videoHeight);
    this.small.width = Math.round(videoWidth * scale);
    this.small.height = Math.round(videoHeight * scale);
    this.small.getContext("2d").drawImage(this.video, 0, 0, this.small.width, this.small.height);
    const resize = videoWidth > MAX_WIDTH ? { resizeWidth: MAX_WIDTH, resizeQuality: "medium" } : {};
    const [bitmap, jpeg] = await Promise.all([
      createImageBitmap(this.video, resize),
      new Promise((done) => this.small.toBlob(done, "image/jpeg", 0.85)),
    ]);
    if (!this.running || !jpeg) return bitmap.close();
    this.waiting.set(this.sent++, { bitmap, place });
    this.socket.send(jpeg);
  }

  answered(result) {
    const { bitmap, place } = this.waiting.get(result.frame) ?? {};
    for (const number of [...this.waiting.keys()]) {
      if (number > result.frame) continue;
      if (number < result.frame) this.waiting.get(number).bitmap.close();  // a newer one took its place
      this.waiting.delete(number);
    }
    if (bitmap && !result.error) this.shown(bitmap, result, place);
  }
}
