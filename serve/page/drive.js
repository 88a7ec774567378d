// The stage: an avatar that is driven, how fast it goes, and recording it.

import { CameraDriver, SampleDriver, SliderDriver } from "./drivers.js";
import { Live } from "./live.js";
import { Recording, canRecord } from "./record.js";
import { cameras } from "./camera.js";
import { chosen, complain, fileName, find, say } from "./parts.js";
import { showBlob } from "./api.js";

const SILENT = "Nothing to drive yet.";
const drivers = { camera: new CameraDriver(), sample: new SampleDriver(), sliders: new SliderDriver() };
let person = null, live = null, driver = null, recording = null, drawn = [], clock = 0, turn = 0;

export function setUpDriving() {
  for (const choice of document.querySelectorAll('input[name="driver"]')) choice.addEventListener("change", switched);
  find("start").onclick = () => (driver ? stop() : start());
  find("record").onclick = () => (recording ? finishRecording() : startRecording());
  find("recorded-drop").onclick = () => (find("recorded").hidden = true);
  find("mirror").onchange = () => find("picture").classList.toggle("as-mirror", find("mirror").checked);
  for (const id of ["adapt", "smooth", "which-camera"]) find(id).onchange = () => driver && restart();
  addEventListener("pagehide", () => stop());
  describe();
}

/** Whom the stage shows: {id, name}, or null. */
export function drivePerson(next) {
  if (person?.id === next?.id) return;
  stop();
  person = next;
  find("recorded").hidden = true;
  complain("drive-error", null);
  words(next ? "" : SILENT);
}

/** A picture of the person at rest, while nothing leads them. */
export async function showAtRest(blob) {
  if (driver || !blob) return;
  const picture = await createImageBitmap(blob);
  if (!driver) paint(picture);
  picture.close();
}

function describe() {
  const name = chosen("driver");
  find("driver-hint").textContent = drivers[name].hint;
  find("sliders").hidden = name !== "sliders";
  for (const part of document.querySelectorAll(".camera-only")) part.hidden = name !== "camera";
}

function switched() {
  describe();
  if (driver) restart();
}

async function restart() {
  stop();
  await start();
}

async function start() {
  const mine = ++turn;
  complain("drive-error", null);
  driver = drivers[chosen("driver")];
  find("start").textContent = "Stop";
  find("together").classList.add("driving");
  words("Connecting …");
  let more;
  try {
    more = await driver.prepare();
  } catch (error) {
    if (mine !== turn) return;
    stop();
    return complain("drive-error", error);
  }
  if (mine !== turn) return;
  find("driver-view").hidden = driver.drive === "pose";
  if (driver.drive === "picture") listCameras();
  drawn = [];
  live = new Live(person.id, { drive: driver.drive, adapt: find("adapt").value, smooth: find("smooth").value, ...more }, {
    ready: ({ mode }) => (words(""), say(`Connected. ${mode === "FT" ? "The learned avatar" : "The first version"} is shown.`)),
    picture: shown,
    problem: ({ detail }) => trouble(detail),
    version: (mode) => say(mode === "FT" ? "The learned avatar has taken over." : "The first version is shown."),
    lost,
  });
  driver.run(live);
  clock = setInterval(figures, 500);
}

function stop() {
  turn += 1;
  if (recording) finishRecording();
  driver?.stop();
  live?.close();
  driver = live = null;
  clearInterval(clock);
  find("start").textContent = "Start";
  find("together").classList.remove("driving");
  find("record").disabled = true;
  find("driver-view").hidden = true;
  for (const id of ["rate", "delay", "server", "skipped"]) find(id).textContent = "–";
  trouble("");
  words("");
}

function lost(why, final) {
  if (!why) return words("");
  if (!final) return words(why);
  stop();
  complain("drive-error", why);
}

function shown(picture, header, latency) {
  paint(picture);
  recording?.draw();
  drawn.push({ at: performance.now(), latency, server: header.server_ms, skipped: header.skipped });
  trouble("");
  find("record").disabled = !canRecord();
}

/** Draw a picture onto the stage; of some poses side by side the first. */
function paint(picture) {
  const canvas = find("picture"), side = picture.height;
  if (canvas.width !== side) canvas.width = canvas.height = side;
  canvas.getContext("2d").drawImage(picture, 0, 0);
  find("stage").classList.add("has-picture");
}

function figures() {
  const since = performance.now() - 2000;
  drawn = drawn.filter(({ at }) => at > since);
  const span = drawn.length > 1 ? drawn.at(-1).at - drawn[0].at : 0;
  find("rate").textContent = span ? ((1000 * (drawn.length - 1)) / span).toFixed(0) : "–";
  find("delay").textContent = middle(drawn.map(({ latency }) => latency));
  find("server").textContent = middle(drawn.map(({ server }) => server));
  if (drawn.length) find("skipped").textContent = drawn.at(-1).skipped ?? "–";
}

function middle(values) {
  const known = values.filter((value) => typeof value === "number").sort((a, b) => a - b);
  return known.length ? `${known[known.length >> 1].toFixed(0)} ms` : "–";
}

async function listCameras() {
  const field = find("which-camera"), now = field.value;
  const found = await cameras();
  field.replaceChildren(new Option("the usual one", ""), ...found.map((device, i) => new Option(device.label || `Camera ${i + 1}`, device.deviceId)));
  field.value = found.some((device) => device.deviceId === now) ? now : "";
}

function startRecording() {
  recording = new Recording(find("picture"));
  find("recorded").hidden = true;
  find("record").textContent = "Stop recording";
  find("recording-now").hidden = false;
  say("Recording.");
}

async function finishRecording() {
  const done = recording;
  recording = null;
  const poster = await done.still();
  find("record").textContent = "Record";
  find("recording-now").hidden = true;
  const blob = await done.stop();
  showBlob(find("recorded-video"), blob);
  URL.revokeObjectURL(find("recorded-video").poster);
  find("recorded-video").poster = URL.createObjectURL(poster);
  const save = find("recorded-save");
  showBlob(save, blob);
  save.download = fileName(person?.name ?? "avatar", done.ending);
  find("recorded").hidden = false;
  say("The recording can be downloaded.");
}

function words(text) {
  find("stage-words").textContent = text;
}

function trouble(text) {
  if (find("trouble").textContent !== text) find("trouble").textContent = text;
}
