// The page: what a person does. What is shown is in stage.js, the stream in live.js, films in
// film.js, talking to the server in server.js. Without a server live.js and server.js are others,
// which ask networks in the browser.

import { canPaste, NOTHING, pasted } from "./clipboard.js";
import { Film, kind, recorded } from "./film.js";
import { Live } from "./live.js";
import { ask, Refusal } from "./server.js";
import { $, announce, canvas, complain, count, draw, introduce, now, reveal, save, say, show } from "./stage.js";

const MAX_RECORDS = 20000;  // of a stream, kept for "Save JSON"

const video = $("video");
let about = null;      // what the server says of itself
let records = [];      // results of this picture or stream, oldest first
let live = null;       // the stream, while there is one
let film = null;       // the poses of a video by their place, while one is open
let answers = [];      // times of its last answers, in ms
let turn = 0;          // counts what was opened, so that a late answer cannot take over

// Asked once, however soon something is opened: two such requests at once wait for each other in a
// browser's cache.
let meeting = null;
function meet() {
  meeting ??= ask("v1/about").then(met);
  meeting.catch(() => { meeting = null; });
  return meeting;
}

function met(answer) {
  about = answer;
  introduce(about);
  const names = [about.model, about.second_stage].filter(Boolean).join(" + ");
  $("model").textContent = `${names} · ${about.runtime}`;
  showScore(100 * about.min_score);
  $("confidence").value = 100 * about.min_confidence;
  $("min-confidence").textContent = `${$("confidence").value} %`;
  showPair(names);
}

// One model is loaded, so one is offered.
function showPair(names) {
  $("pair").replaceChildren(new Option(names));
  const option = Object.assign(document.createElement("code"), { textContent: "--model" });
  const served = document.documentElement.dataset.kind === "server";
  $("pair-note").replaceChildren(served
    ? "The only one that this server has loaded: another is chosen where it starts, by "
    : "The only one in this page: another is chosen where the page is made, by ", option, ".");
}

// Those who score less are not sent by the server.
function showScore(percent) {
  $("score").min = $("score").value = percent;
  $("min-score").textContent = `${Math.round($("score").value)} %`;
}

// What is opened: a picture, a video, the camera.

async function open(what) {
  const mine = ++turn;
  close();
  complain("");
  try {
    await meet();
    await what(() => mine === turn);
  } catch (error) {
    if (mine !== turn) return;
    close();
    complain(error instanceof Refusal ? error.message : `That did not work: ${error.message}`);
  }
}

function close() {
  live?.stop();
  live = film = null;
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.pause();
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.srcObject = null;
  $("stop").hidden = $("player").hidden = $("save-video").hidden = $("latency").hidden = true;
}

function openFile(file) {
  const film = file.type.startsWith("video/") || /\.(mp4|m4v|mov|webm|mkv|ogv)$/i.test(file.name);
  return open(film ? (current) => openVideo(file, current) : (current) => openPicture(file, current));
}

async function openPicture(file, current) {
  if (file.size > about.limits.bytes) throw new Refusal("This picture is too large for the server. Try a smaller one.");
  say("Looking …");
  $("stage").classList.add("busy");
  try {
    const headers = { "Content-Type": "application/octet-stream" };
    const begin = performance.now();
    const result = await ask("v1/poses", { method: "POST", body: file, headers });
    const took = performance.now() - begin;
    const image = await createImageBitmap(file).catch(() => {
      throw new Refusal("The server read this picture, but this browser cannot show it. Try a JPEG or PNG.");
    });
    if (!current()) return;
    $("mirror").checked = false;
    present(image, result);
    $("speed-name").textContent = "Milliseconds";
    $("fps").textContent = Math.round(took);
    say(`${count()} found.`);
  } finally {
    $("stage").classList.remove("busy");
  }
}

async function openVideo(file, current) {
  video.src = URL.createObjectURL(file);
  video.loop = false;
  await playing("This video cannot be played by your browser. Try an MP4 or WebM.");
  if (!current()) return;
  film = new Film();
  $("player").hidden = false;
  $("save-video").hidden = !kind();
  $("mirror").checked = false;
  stream("The video plays.");
}

async function openCamera(current) {
  if (!navigator.mediaDevices) throw new Refusal("Browsers give the camera only to https pages and to localhost.");
  say("Waiting for the camera …");
  let camera;
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "user" } });
  } catch (error) {
    const refused = error.name === "NotAllowedError";
    throw new Refusal(refused ? "The camera was not allowed. Allow it in the address bar, then try again."
                              : "No camera was found, or another program uses it.");
  }
  if (!current()) return camera.getTracks().forEach((track) => track.stop());
  video.srcObject = camera;
  $("mirror").checked = true;
  await playing("The camera gives no picture.");
  stream("The camera is on.");
}

async function playing(otherwise) {
  const failed = new Promise((_, fail) => { video.onerror = () => fail(new Refusal(otherwise)); });
  await Promise.race([video.play().catch(() => { throw new Refusal(otherwise); }), failed]);
}

function stream(text) {
  answers = [];
  records = [];
  $("speed-name").textContent = "Frames a second";
  $("stop").hidden = false;
  say(text);
  live = new Live(video, about.height, streamed, streamEnded);
}

function streamed(image, result, place, ms) {
  film?.add(place, result);
  if (records.length) show(image, result);
  else present(image, result);
  if (!video.paused || !records.length) records.push(result);  // not the same picture for ever
  if (records.length > MAX_RECORDS) records.shift();
  const time = performance.now();
  answers = [...answers.filter((at) => at > time - 2000), time];
  const seconds = (time - answers[0]) / 1000;
  $("fps").textContent = seconds ? ((answers.length - 1) / seconds).toFixed(1) : "–";
  $("latency").hidden = ms === undefined;
  if (ms !== undefined) $("ms").textContent = Math.round(ms);
  if (video.duration) $("seek").value = video.currentTime / video.duration;
  announce();
}

async function streamEnded(why) {
  if (!why) return;
  close();
  if (why === "refused") {
    const { streams_free: free } = await ask("healthz").catch(() => ({ streams_free: -1 }));
    complain(free === 0 ? "All live places of the server are taken. Try again in a moment."
                        : "The server cannot be reached. Is it still running?");
  } else complain(why);
}

// What is shown.

function present(image, result) {
  records = live ? [] : [result];
  reveal();
  show(image, result);
}

// A film's poses that are known already, at the place that was sought.
async function showAgain() {
  const result = film?.at(video.currentTime), mine = turn;
  if (!result || !now || saving) return;
  const image = await createImageBitmap(video);
  if (mine === turn) show(image, result);
}

// After a control has changed who is drawn.
function recount() {
  if (!now) return;
  draw();
  if (!live) say(`${count()} shown.`);
}

let saving = false;
async function saveVideo() {
  if (!film?.frames().length) return;
  const mine = turn, its = film, button = $("save-video");
  saving = button.disabled = true;
  live?.stop();
  live = null;
  try {
    const goesOn = (fraction) => {
      if (mine === turn) say(`Saving the video: ${Math.round(100 * fraction)} % …`);
      return mine === turn;
    };
    const again = async (result) => { show(await createImageBitmap(video), result); };
    const film = await recorded(its, video, canvas, again, goesOn);
    if (mine !== turn) return;
    save(film, film.type === "video/mp4" ? "limbwise.mp4" : "limbwise.webm");
    say("The video is saved, as far as it was played.");
  } catch (error) {
    if (mine === turn) complain(`The video cannot be saved here: ${error.message}`);
  } finally {
    saving = button.disabled = false;
    if (mine === turn) live = new Live(video, about.height, streamed, streamEnded);
  }
}

function saveJson() {
  const lines = records.map((result) => JSON.stringify(result) + "\n");
  const many = records.length > 1;
  save(new Blob(lines, { type: many ? "application/jsonl" : "application/json" }), many ? "limbwise.jsonl" : "limbwise.json");
}

async function openSample(current) {
  const answer = await fetch("sample.jpg");
  await openPicture(await answer.blob(), current);
}

// What a person does.

const does = { choose: () => $("file").click(), camera: () => open(openCamera), sample: () => open(openSample), paste: () => pasted().then(openFile, (error) => complain(error.message)) };
for (const button of document.querySelectorAll("[data-does]")) button.onclick = does[button.dataset.does];
for (const button of document.querySelectorAll("[data-does=paste]")) button.hidden = !canPaste();

$("file").onchange = ({ target }) => {
  if (target.files[0]) openFile(target.files[0]);
  target.value = "";
};
$("confidence").oninput = () => {
  $("min-confidence").textContent = `${$("confidence").value} %`;
  recount();
};
$("score").oninput = () => {
  $("min-score").textContent = `${Math.round($("score").value)} %`;
  recount();
};
$("ids").onchange = $("mirror").onchange = draw;
$("save-picture").onclick = () => canvas.toBlob((blob) => save(blob, "limbwise.png"));
$("save-json").onclick = saveJson;
$("save-video").onclick = saveVideo;
$("openapi").onclick = (event) => {  // a link alone would bring no token
  event.preventDefault();
  ask("openapi.json").then((all) => save(new Blob([JSON.stringify(all, null, 2)]), "limbwise-openapi.json"),
                           (error) => complain(error.message));
};
$("stop").onclick = () => {
  close();
  say("Stopped.");
};
$("play").onclick = () => (video.paused ? video.play() : video.pause());
video.onplay = video.onpause = () => {
  $("play").textContent = video.paused ? "▶" : "❚❚";
  $("play").setAttribute("aria-label", video.paused ? "Play" : "Pause");
};
$("seek").oninput = () => { video.currentTime = $("seek").value * video.duration; };
video.onseeked = showAgain;

document.ondragover = (event) => {
  event.preventDefault();
  $("stage").classList.add("dragged");
};
document.ondragleave = (event) => { if (!event.relatedTarget) $("stage").classList.remove("dragged"); };
document.ondrop = (event) => {
  event.preventDefault();
  $("stage").classList.remove("dragged");
  const [file] = event.dataTransfer.files;
  if (file) openFile(file);
  else complain("Nothing was dropped that is a file. Save the picture first, then drop it here.");
};
document.onpaste = ({ clipboardData, target }) => {
  if (clipboardData.files[0]) openFile(clipboardData.files[0]);
  else if (!target.closest?.("input")) complain(NOTHING);
};

$("curl").textContent = `curl -H 'Content-Type: image/jpeg' --data-binary @photo.jpg ${new URL("v1/poses", location.href)}`;
meet().then(() => { if (!turn) say("Ready."); }, (error) => complain(error.message));
