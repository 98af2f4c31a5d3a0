// A playing video through the networks of this browser, picture by picture: what live.js of the
// server's page is to a server.

import { nextFrame } from "./frames.js";
import { find, prepare } from "./server.js";

const MAX_WIDTH = 1280;   // of what is estimated and shown

export class Live {
  // shown(bitmap, result, place, ms) after each answer, `place` in the video in seconds; ended(why)
  // once, `why` empty if it was stopped.
  constructor(video, height, shown, ended) {
    Object.assign(this, { video, shown, ended });
    this.begin = performance.now();
    this.sent = 0;
    this.shownLast = -1;
    this.running = true;
    this.free = prepare();
    this.pump();
  }

  stop(why = "") {
    if (!this.running) return;
    this.running = false;
    this.ended(why);
  }

  async pump() {
    while (this.running) {
      const place = await nextFrame(this.video);
      if (this.running && this.free && this.video.readyState >= 2) this.send(place).catch((error) => this.stop(error.message));
    }
  }

  async send(place) {
    this.free -= 1;
    const number = this.sent++, { videoWidth } = this.video;
    const time = (performance.now() - this.begin) / 1000;
    const resize = videoWidth > MAX_WIDTH ? { resizeWidth: MAX_WIDTH, resizeQuality: "medium" } : {};
    const { bitmap, result, ms } = await find(await createImageBitmap(this.video, resize));
    this.free += 1;
    if (!this.running || number < this.shownLast) return bitmap.close();  // a newer one was quicker
    this.shownLast = number;
    this.shown(bitmap, { ...result, source: "stream", frame: number, time: Number(time.toFixed(6)) }, place, ms);
  }
}
