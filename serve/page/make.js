// Making an avatar: pictures of one person, a name, consent; then everything is sent.

import { Problem, idempotencyKey, send } from "./api.js";
import { takePhotographs } from "./camera.js";
import { chosen, complain, copyOf, find, say, size } from "./parts.js";

const LARGEST = 1920; // pixels: the service keeps none that is larger, so that none is sent
const MOST = 32;
const STATEMENT = {
  me: "I am the person in these pictures, of age, and I agree that an avatar is made of me.",
  other: "The person in these pictures knows that an avatar is made of them, is of age, and has agreed to it.",
};
const FIELDS = { photos: "photos", video: "photos", name: "name", consent: "consent" };
let limits = {}, photos = [], video = null, attempt = null, sending = null;

export function setUpMaking(session) {
  limits = session.limits ?? {};
  if (limits.video_seconds) find("video-limit").textContent = `somebody who talks, at most ${Math.round(limits.video_seconds)} seconds`;
  find("photos").onchange = ({ target }) => (add([...target.files]), (target.value = ""));
  find("video").onchange = ({ target }) => takeVideo(target.files[0] ?? null);
  find("open-camera").onclick = () => takePhotographs((file) => add([file]));
  setUpDropping(find("drop"));
  for (const choice of document.querySelectorAll('input[name="material"]')) choice.onchange = showMaterial;
  for (const choice of document.querySelectorAll('input[name="who"]')) choice.onchange = showStatement;
  find("new-form").addEventListener("input", changed);
  find("new-form").onsubmit = (event) => (event.preventDefault(), submit());
  find("cancel").onclick = () => sending?.abort();
  showStatement();
}

/** Something is different from what was sent: it is another request. */
function changed() {
  attempt = null;
}

function showMaterial() {
  find("take-photos").hidden = chosen("material") !== "photos";
  find("take-video").hidden = chosen("material") !== "video";
  complain("photos-error", null);
}

function showStatement() {
  find("statement").textContent = STATEMENT[chosen("who")];
  find("agreed").hidden = chosen("who") === "me";
}

function setUpDropping(place) {
  place.ondragover = (event) => (event.preventDefault(), place.classList.add("over"));
  place.ondragleave = () => place.classList.remove("over");
  place.ondrop = (event) => {
    event.preventDefault();
    place.classList.remove("over");
    add([...event.dataTransfer.files]);
  };
}

function add(files) {
  changed();
  const refused = [];
  for (const file of files) {
    if (!file.type.startsWith("image/") && !/\.hei[cf]$/i.test(file.name)) refused.push(`${file.name} is not a picture.`);
    else if (photos.length >= MOST) refused.push(`${file.name}: ${MOST} photographs are enough.`);
    else {
      const photo = { file };
      photo.thumb = thumbnail(photo);
      photos.push(photo);
      find("thumbs").append(photo.thumb);
    }
  }
  complain("photos-error", refused.join(" ") || null);
  say(`${photos.length} ${photos.length === 1 ? "photograph" : "photographs"} chosen.`);
}

function thumbnail(photo) {
  const thumb = copyOf("a-thumb");
  const [picture, instead, name, button] = thumb.children;
  name.textContent = photo.file.name;
  picture.src = URL.createObjectURL(photo.file);
  picture.onerror = () => {
    picture.hidden = true; // HEIC, which most browsers cannot show and the service can read
    instead.textContent = photo.file.name.split(".").pop().toUpperCase();
  };
  button.setAttribute("aria-label", `Remove ${photo.file.name}`);
  button.onclick = () => {
    URL.revokeObjectURL(picture.src);
    const next = thumb.nextElementSibling ?? thumb.previousElementSibling;
    photos = photos.filter((other) => other !== photo);
    thumb.remove();
    changed();
    (next?.querySelector("button") ?? find("open-camera")).focus();
    say(`${photo.file.name} removed.`);
  };
  return thumb;
}

function takeVideo(file) {
  changed();
  video = file;
  find("video-name").textContent = file ? `${file.name} (${size(file.size)})` : "";
  complain("photos-error", null);
}

/** Show what is missing; returns whether nothing is. */
function complete() {
  const byPhotos = chosen("material") === "photos";
  const most = byPhotos ? limits.photo_bytes : limits.video_bytes;
  const large = (byPhotos ? photos.map(({ file }) => file) : video ? [video] : []).find((file) => !shrinks(file) && most && file.size > most);
  const missing = {
    photos: byPhotos && !photos.length ? "Choose at least one photograph." : !byPhotos && !video ? "Choose a video." : large ? `${large.name} is larger than ${size(most)}.` : null,
    name: find("name").value.trim() ? null : "Give the avatar a name.",
    how: chosen("who") === "other" && !find("how").value.trim() ? "Write how this person agreed." : null,
    consent: find("consent").checked ? null : "Without this, no avatar can be made.",
  };
  for (const [name, words] of Object.entries(missing)) complain(`${name}-error`, words, find(name));
  const first = Object.keys(missing).find((name) => missing[name]);
  if (first === "photos") document.querySelector(`label[for="${byPhotos ? "photos" : "video"}"]`).scrollIntoView({ block: "center" });
  if (first) find(first === "photos" && !byPhotos ? "video" : first).focus();
  return !first;
}

const shrinks = (file) => file.type === "image/jpeg" || file.type === "image/png" || file.type === "image/webp";

/** A photograph as it is sent: turned upright, no larger than needed, where this browser can read it. */
async function shrunk(file) {
  if (!shrinks(file)) return file;
  try {
    const picture = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = LARGEST / Math.max(picture.width, picture.height);
    if (scale >= 1) return file;
    const canvas = Object.assign(document.createElement("canvas"), { width: Math.round(picture.width * scale), height: Math.round(picture.height * scale) });
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    picture.close();
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    return blob ?? file;
  } catch {
    return file; // the service says what is wrong with it
  }
}

async function form() {
  const data = new FormData();
  data.append("name", find("name").value.trim());
  data.append("mode", chosen("mode"));
  const how = chosen("who") === "other" ? ` How: ${find("how").value.trim()}` : "";
  data.append("consent", STATEMENT[chosen("who")] + how);
  if (chosen("material") === "video") data.append("video", video, video.name);
  else
    for (const [number, { file }] of photos.entries()) {
      progress(`Preparing photograph ${number + 1} of ${photos.length}`, 0);
      data.append("photos", await shrunk(file), file.name);
    }
  return data;
}

function progress(words, share) {
  find("sent-words").textContent = words;
  find("sent").value = share;
}

async function submit() {
  if (sending) return;
  complain("new-error", null);
  if (!complete()) return;
  sending = new AbortController();
  find("send").disabled = true;
  find("sending").hidden = false;
  try {
    // The same request again, after a failure, is known by its key, so that nothing is made twice.
    attempt ??= { key: idempotencyKey(), form: await form() };
    const record = await send("v1/avatars", attempt.form, {
      headers: { "Idempotency-Key": attempt.key },
      signal: sending.signal,
      progressed: (share) => progress(share < 1 ? `Sending: ${Math.round(share * 100)} %` : "Sent; the service keeps it …", share),
    });
    empty();
    location.hash = `#/avatar/${record.id}`;
  } catch (error) {
    if (error.name !== "AbortError") failed(error);
    else say("Cancelled.");
  } finally {
    sending = null;
    find("send").disabled = false;
    find("sending").hidden = true;
  }
}

function failed(error) {
  const field = error instanceof Problem ? FIELDS[error.field] : undefined;
  complain(field ? `${field}-error` : "new-error", error);
  if (field) find(field).focus();
}

function empty() {
  attempt = null;
  for (const { thumb } of photos) URL.revokeObjectURL(thumb.querySelector("img").src);
  photos = [];
  find("thumbs").replaceChildren();
  find("new-form").reset();
  takeVideo(null);
  showMaterial();
  showStatement();
}
