// One avatar: how far it is, what was found in the pictures, and the stage.

import { show, showBlob } from "./api.js";
import { drivePerson, showAtRest } from "./drive.js";
import { listFilms } from "./films.js";
import { follow } from "./follow.js";
import { deleteAvatar } from "./list.js";
import { ago, complain, copyOf, find, say, stateWords } from "./parts.js";

const KEPT = 6; // earlier previews that are shown
let seen = null;

export async function showPerson(id, signal) {
  seen = { signal, record: null, photos: "", preview: "", last: null, previews: [], state: "" };
  clear();
  signal.addEventListener("abort", () => drivePerson(null));
  try {
    await follow(id, (record) => render(record), signal);
  } catch (error) {
    if (signal.aborted) return;
    drivePerson(null);
    complain("person-error", error.status === 404 ? "There is no such avatar (any more)." : error);
    if (!seen.record) find("person-name").textContent = "No avatar";
    for (const card of ["progress-card", "drive-card", "films-card", "found-card"]) find(card).hidden = true;
  }
}

function clear() {
  complain("person-error", null);
  find("person-name").textContent = "…";
  find("person-badge").textContent = "";
  find("stage").classList.remove("has-picture");
  find("previews").replaceChildren();
  find("found").replaceChildren();
  find("together").classList.add("alone");
  for (const id of ["previews", "preview-now", "found-card", "films-card", "drive-card", "quality"]) find(id).hidden = true;
  find("progress-card").hidden = false;
  find("delete").onclick = () => seen.record && remove();
}

function render(record) {
  const before = seen.record;
  seen.record = record;
  find("person-name").textContent = record.name;
  document.title = `${record.name} · raytalk`;
  find("person-badge").textContent = stateWords(record);
  find("person-badge").dataset.state = record.state;
  find("made").textContent = `Made ${ago(record.created_at)}. Deleting it also deletes its pictures, its films and everything learned from them.`;
  showProgress(record);
  showFound(record);
  showPreview(record);
  if (record.preview_ready && !before?.preview_ready) {
    find("together").classList.remove("alone");
    find("drive-card").hidden = find("films-card").hidden = false;
    drivePerson({ id: record.id, name: record.name });
    listFilms(record, seen.signal);
  }
  const state = `${record.state} ${record.preview_ready}`;
  if (before && state !== seen.state) say(`${record.name}: ${stateWords(record)}.`);
  seen.state = state;
}

function showProgress(record) {
  const done = record.state === "ready" || record.state === "failed";
  find("progress-title").textContent = done ? (record.state === "ready" ? "It is ready" : "It did not work") : "Making it";
  find("learned").hidden = find("progress-words").hidden = done;
  find("learned").value = record.progress;
  find("progress-words").textContent = progressWords(record);
  complain("reason", record.reason?.detail ?? null);
  const { ssim_ff: first, ssim_ft: learned } = record.quality ?? {};
  const both = typeof first === "number" && typeof learned === "number";
  find("quality").hidden = !both;
  if (both)
    find("quality").textContent = `Likeness to the photographs it learned from (SSIM, 1 is the same): ${first.toFixed(2)} at first, ${learned.toFixed(2)} after learning.`;
}

function progressWords(record) {
  if (record.state === "learning") return record.steps ? `Learning: step ${record.step} of ${record.steps}` : "Learning";
  if (record.preview_ready) return "Waiting for its turn to be learned. You can drive the first version.";
  return record.progress > 0 ? "Looking at the pictures" : "Waiting for its turn";
}

/** Fetch the preview when there is a new one; what was shown before moves into the row below. */
async function showPreview(record) {
  const mine = seen, address = record.links.preview;
  if (!address || address === mine.preview) return;
  mine.preview = address;
  const image = find("preview-now").querySelector("img");
  const words = record.version === "FT" ? "learned" : record.step ? `step ${record.step}` : "first version";
  let blob;
  try {
    blob = await show(image, address, mine.signal);
  } catch {
    return; // the next change brings another
  }
  if (!blob || mine !== seen) return;
  if (mine.last && (await same(mine.last.blob, blob))) return;
  if (mine.last) remember(mine.last);
  mine.last = { blob, words };
  find("preview-now").hidden = false;
  find("preview-now").querySelector("figcaption").textContent = `Now: ${words}`;
  showAtRest(blob);
}

async function same(one, other) {
  if (one.size !== other.size) return false;
  const [a, b] = (await Promise.all([one.arrayBuffer(), other.arrayBuffer()])).map((bytes) => new Uint8Array(bytes));
  return a.every((byte, i) => byte === b[i]);
}

function remember({ blob, words }) {
  const item = document.createElement("li");
  const image = Object.assign(document.createElement("img"), { alt: "" });
  const caption = Object.assign(document.createElement("span"), { textContent: words });
  showBlob(image, blob);
  item.append(image, caption);
  const row = find("previews");
  row.append(item);
  // The very first one stays: against it one sees what learning brought.
  if (row.children.length > KEPT) row.children[1].remove();
  row.hidden = false;
}

function showFound(record) {
  const photos = JSON.stringify(record.photos ?? []);
  if (photos === seen.photos) return;
  seen.photos = photos;
  const known = record.photos.filter(({ used }) => used !== null);
  const used = record.photos.filter((photo) => photo.used).length;
  find("found-card").hidden = !known.length;
  find("found-words").textContent = `${used} of ${record.photos.length} used. Left what was cut out, right the 68 points that were found, as the network sees them.`;
  find("found").replaceChildren(...record.photos.map(found));
}

function found(photo) {
  const part = copyOf("a-find");
  const image = part.querySelector("img");
  if (photo.crop) {
    image.alt = `Crop of ${photo.label} and the drawing of the points found in it`;
    show(image, photo.crop, seen.signal).catch(() => {});
  } else part.querySelector(".pair").textContent = photo.used === null ? "not looked at yet" : photo.used ? "deleted after learning" : "nothing to show";
  const verdict = part.querySelector(".verdict");
  verdict.dataset.used = String(photo.used);
  verdict.querySelector("b").textContent = photo.used === null ? "Waiting" : photo.used ? "✓ Used" : "✗ Not used:";
  verdict.querySelector("span").textContent = photo.used === false ? photo.reason : "";
  part.querySelector(".label").textContent = photo.label;
  return part;
}

async function remove() {
  if (await deleteAvatar(seen.record, "person-error")) location.hash = "#/";
}
