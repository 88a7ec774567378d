// The camera: opening it, why it cannot be opened, and the window that takes photographs or a film.

import { complain, find, say } from "./parts.js";

const PROMPTS = [
  "Look straight into the camera", "Turn your head a little to the left", "A little to the right", "Up a little, chin forward", "Down a little",
  "Straight again, and smile", "Say “ah”", "One more, as you like", "Enough! More do no harm",
];
const WHY = {
  NotAllowedError: "The camera is not allowed. Allow it for this page in your browser’s settings, and try again.",
  NotFoundError: "No camera was found.",
  NotReadableError: "Another program is using the camera.",
  OverconstrainedError: "That camera cannot be used. Choose another one.",
};

/** Open a camera and show it in `video`. Throws an Error with words for a person. */
export async function openCamera(video, { device = "", facing = "user", audio = false, width = 1280 } = {}) {
  if (!navigator.mediaDevices?.getUserMedia)
    throw new Error("The camera works only over https:// or on the machine that runs the service. You can choose photographs instead.");
  const which = device ? { deviceId: { exact: device } } : { facingMode: facing };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio, video: { ...which, width: { ideal: width }, height: { ideal: (width * 3) / 4 }, frameRate: { ideal: 30 } } });
  } catch (error) {
    throw new Error(WHY[error.name] ?? `The camera cannot be opened: ${error.message}`);
  }
  video.srcObject = stream;
  await video.play();
  return stream;
}

export function closeCamera(video) {
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
}

export async function cameras() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  return devices.filter((device) => device.kind === "videoinput");
}

/** What the video shows now, as a JPEG of at most so many pixels across. */
export function snapshot(video, canvas, across, quality) {
  const scale = Math.min(1, across / Math.max(video.videoWidth, video.videoHeight));
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
}

/** The window for photographs: `taken` is called with a File for each. */
export async function takePhotographs(taken) {
  let count = 0;
  const canvas = document.createElement("canvas");
  await inWindow("Take photographs", "Take one", async (video) => {
    const blob = await snapshot(video, canvas, 1920, 0.92);
    count += 1;
    taken(new File([blob], `camera ${count}.jpg`, { type: "image/jpeg" }));
    find("camera-prompt").textContent = `${PROMPTS[Math.min(count, PROMPTS.length - 1)]} · ${count} taken`;
  }, {}, () => (find("camera-prompt").textContent = PROMPTS[0]));
}

/** The window for a film with sound: resolves to a File, or null if there is none. */
export async function takeFilm(seconds) {
  let recorder = null, film = null, clock = 0;
  await inWindow("Record a video", "Record", (video) => {
    if (recorder) return recorder.stop();
    const parts = [], began = Date.now();
    recorder = new MediaRecorder(video.srcObject);
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.onstop = () => {
      clearInterval(clock);
      film = new File(parts, "camera", { type: recorder.mimeType });
      find("camera").close();
    };
    recorder.start(1000);
    find("camera-take").textContent = "Stop and use it";
    clock = setInterval(() => {
      const gone = (Date.now() - began) / 1000;
      find("camera-prompt").textContent = `${gone.toFixed(0)} of at most ${seconds.toFixed(0)} seconds`;
      if (gone > seconds - 1) recorder.stop();
    }, 250);
  }, { audio: true }, () => (find("camera-prompt").textContent = "Look into the camera and speak"), () => {
    clearInterval(clock);
    if (recorder?.state !== "recording") return;
    recorder.onstop = null; // closed without using it
    recorder.stop();
  });
  return film;
}

async function inWindow(title, action, act, wish, opened, closing = () => {}) {
  const dialog = find("camera"), video = find("camera-video"), take = find("camera-take"), turn = find("camera-turn");
  let facing = "user";
  find("camera-title").textContent = title;
  take.textContent = action;
  take.disabled = true;
  complain("camera-error", null);
  find("camera-prompt").textContent = "Waiting for the camera …";
  const open = async () => {
    closeCamera(video);
    try {
      await openCamera(video, { facing, ...wish });
    } catch (error) {
      find("camera-prompt").textContent = "";
      return complain("camera-error", error);
    }
    if (!dialog.open) return closeCamera(video);
    video.classList.toggle("as-mirror", facing === "user");
    take.disabled = false;
    turn.hidden = (await cameras()).length < 2;
    opened();
    say("The camera is on.");
  };
  const done = new Promise((resolve) => (dialog.onclose = resolve));
  take.onclick = async () => {
    try {
      await act(video);
    } catch (error) {
      complain("camera-error", error);
    }
  };
  turn.onclick = () => ((facing = facing === "user" ? "environment" : "user"), open());
  find("camera-done").onclick = () => dialog.close();
  dialog.showModal();
  open();
  await done;
  closing();
  closeCamera(video);
}
