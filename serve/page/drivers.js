// What can lead an avatar: the camera, the sample motion, sliders. Each has start(live, views) and stop().

import { closeCamera, openCamera, snapshot } from "./camera.js";
import { copyOf, find, still } from "./parts.js";
import { drawFace, frameAt, sampleTrack } from "./drawing.js";

const ACROSS = 480; // pixels of a driving picture: enough to find a face, small enough for a telephone's network
const QUALITY = 0.8;

/** Calls `turn` once per picture of the screen until it is stopped; one that takes longer is not called twice at a time. */
function everyFrame(turn) {
  let handle = 0, stopped = false;
  const next = async (now) => {
    await turn(now);
    if (!stopped) handle = requestAnimationFrame(next);
  };
  handle = requestAnimationFrame(next);
  return () => ((stopped = true), cancelAnimationFrame(handle));
}

export class CameraDriver {
  drive = "picture";
  hint = "Your camera’s pictures go to the service, which finds your face in them; they are not kept.";

  async prepare() {
    this.video = find("self");
    await openCamera(this.video, { device: find("which-camera").value, width: 640 });
    this.video.hidden = false;
    return {};
  }

  run(live) {
    const canvas = document.createElement("canvas");
    let last = -1;
    this.stopTurning = everyFrame(async () => {
      if (!live.free || this.video.readyState < 2 || this.video.currentTime === last) return;
      last = this.video.currentTime;
      const when = performance.now();
      const jpeg = await (await snapshot(this.video, canvas, ACROSS, QUALITY)).arrayBuffer();
      if (live.free) live.sendPicture(jpeg, when);
    });
  }

  stop() {
    this.stopTurning?.();
    if (!this.video) return;
    closeCamera(this.video);
    this.video.hidden = true;
  }
}

export class SampleDriver {
  drive = "landmarks";
  hint = "A prepared motion of some seconds leads the avatar: a head that turns, speaks and blinks.";

  async prepare() {
    this.track = await sampleTrack();
    this.view = find("driver-drawing");
    this.view.hidden = false;
    const [width, height] = this.track.size;
    return { width, height };
  }

  run(live) {
    const began = performance.now();
    let last = null;
    this.stopTurning = everyFrame((now) => {
      const points = frameAt(this.track, Math.max(0, now - began) / 1000);
      if (points === last) return;
      drawFace(this.view, points, this.track.view);
      if (!live.free) return;
      last = points;
      live.sendLandmarks(points, performance.now());
    });
  }

  stop() {
    this.stopTurning?.();
    if (this.view) this.view.hidden = true;
  }
}

// name, words, least, most, at rest, step, how its value is said
const degrees = (left, right) => (v) => (v ? `${Math.abs(v)}° ${v < 0 ? left : right}` : "straight");
const percent = (v) => `${Math.round(v * 100)} %`;
const SLIDERS = [
  ["yaw", "Turn", -35, 35, 0, 1, degrees("left", "right")],
  ["pitch", "Nod", -35, 35, 0, 1, degrees("down", "up")],
  ["roll", "Tilt", -35, 35, 0, 1, degrees("left", "right")],
  ["mouth", "Mouth open", 0, 1, 0, 0.05, percent],
  ["eyes", "Eyes open", 0, 1, 1, 0.05, percent],
  ["smile", "Smile", -1, 1, 0, 0.05, (v) => (v < 0 ? `frown ${percent(-v)}` : percent(v))],
  ["brows", "Brows", -1, 1, 0, 0.05, (v) => (v < 0 ? `lowered ${percent(-v)}` : v ? `raised ${percent(v)}` : "at rest")],
];

export class SliderDriver {
  drive = "pose";
  hint = "Move the sliders, with a finger or with the arrow keys.";

  constructor() {
    const place = find("sliders");
    this.inputs = {};
    for (const [name, words, min, max, rest, step, said] of SLIDERS) {
      const part = copyOf("a-slider");
      const [label, output, input] = part.children;
      label.textContent = words;
      label.htmlFor = input.id = `pose-${name}`;
      output.htmlFor = input.id;
      Object.assign(input, { min, max, step, value: rest });
      const tell = () => {
        output.textContent = said(Number(input.value));
        input.setAttribute("aria-valuetext", output.textContent);
      };
      input.addEventListener("input", tell);
      tell();
      this.inputs[name] = { input, rest, tell };
      place.append(part);
    }
    const reset = document.createElement("button");
    Object.assign(reset, { type: "button", className: "plain", id: "pose-rest", textContent: "All at rest" });
    reset.onclick = () => Object.values(this.inputs).forEach(({ input, rest, tell }) => ((input.value = rest), tell()));
    place.append(reset);
  }

  async prepare() {
    return {};
  }

  run(live) {
    const shown = Object.fromEntries(Object.entries(this.inputs).map(([name, { rest }]) => [name, rest]));
    let sent = "";
    this.stopTurning = everyFrame(() => {
      if (!live.open) sent = ""; // after a new connection the pose is told again
      if (!live.free) return;
      for (const [name, { input }] of Object.entries(this.inputs)) {
        const wanted = Number(input.value), gap = wanted - shown[name], range = input.max - input.min;
        // Glides there, so that a step of a key does not jerk the head.
        shown[name] = still.matches || Math.abs(gap) < range / 200 ? wanted : shown[name] + gap * 0.4;
      }
      const pose = JSON.stringify(shown);
      if (pose === sent) return;
      sent = pose;
      live.sendPose(shown, performance.now());
    });
  }

  stop() {
    this.stopTurning?.();
  }
}
