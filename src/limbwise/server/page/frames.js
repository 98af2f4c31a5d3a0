// The pictures of a playing video, one after another.

// Waits for the next and gives its place in seconds. A hidden page or a paused video has no next
// frame: then one in a second keeps the stream open.
export function nextFrame(video) {
  return new Promise((done) => {
    const late = setTimeout(() => done(video.currentTime), 1000);
    const now = (_, frame) => {
      clearTimeout(late);
      done(frame?.mediaTime ?? video.currentTime);
    };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(now);
    else requestAnimationFrame(now);
  });
}
