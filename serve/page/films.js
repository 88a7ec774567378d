// Films: a driving video goes to the service, a signed film of the avatar comes back.

import { ask, askJson, idempotencyKey, send, show, showBlob } from "./api.js";
import { takeFilm } from "./camera.js";
import { ago, areYouSure, complain, copyOf, fileName, find, pause, say, size } from "./parts.js";

const POLL = 1.5; // seconds
let limits = {};

export function setUpFilms(session) {
  limits = session.limits ?? {};
}

export async function listFilms(record, signal) {
  const path = `v1/avatars/${record.id}/videos`;
  find("films").replaceChildren();
  complain("film-error", null);
  const make = (file) => file && upload(path, record, file, signal);
  find("film-file").onchange = ({ target }) => (make(target.files[0]), (target.value = ""));
  find("film-camera").onclick = async () => make(await takeFilm(Math.min(limits.video_seconds ?? 60, 120)));
  try {
    const { videos } = await askJson(path, { signal });
    for (const film of videos) find("films").append(entry(film, record, signal));
  } catch (error) {
    if (!signal.aborted) complain("film-error", error);
  }
}

async function upload(path, record, file, signal) {
  complain("film-error", null);
  if (limits.video_bytes && file.size > limits.video_bytes) return complain("film-error", `${file.name} is larger than ${size(limits.video_bytes)}.`);
  const form = new FormData();
  form.append("video", file, file.name);
  form.append("adapt", find("adapt").value);
  find("film-sending").hidden = false;
  try {
    const progressed = (share) => (find("film-sent").value = share);
    const film = await send(path, form, { headers: { "Idempotency-Key": idempotencyKey() }, progressed, signal });
    find("films").prepend(entry(film, record, signal));
    say("The video is sent; the film is being made.");
  } catch (error) {
    if (!signal.aborted) complain("film-error", error);
  } finally {
    find("film-sending").hidden = true;
  }
}

function entry(film, record, signal) {
  const part = copyOf("a-film");
  part.querySelector(".when").textContent = ago(film.created_at);
  part.querySelector("progress").setAttribute("aria-label", "Progress of the film");
  part.querySelector(".delete").onclick = async () => {
    if (!(await areYouSure("Delete this film?", "It is deleted from the service. This cannot be undone.", "Delete"))) return;
    try {
      await ask(`v1/videos/${film.id}`, { method: "DELETE" });
    } catch (error) {
      if (error.status !== 404) return complain(part.querySelector(".error"), error);
    }
    part.remove();
    find("films-title").setAttribute("tabindex", "-1");
    find("films-title").focus();
    say("The film is deleted.");
  };
  watch(film, part, record, signal);
  return part;
}

async function watch(film, part, record, signal) {
  const tell = () => {
    const words = { queued: "Waiting for its turn", making: `Being made: ${Math.round(film.progress * 100)} %`, ready: "Film", failed: "It did not work" };
    part.querySelector(".state").textContent = words[film.state];
    part.querySelector("progress").value = film.progress;
    part.querySelector("progress").hidden = film.state === "ready" || film.state === "failed";
    complain(part.querySelector(".error"), film.reason?.detail ?? null);
  };
  tell();
  const waited = film.state === "queued" || film.state === "making";
  while (["queued", "making"].includes(film.state) && !signal.aborted) {
    await pause(POLL, signal);
    if (signal.aborted || (part.parentElement === null && film.progress > 0)) return;
    try {
      film = await askJson(`v1/videos/${film.id}`, { signal });
      tell();
    } catch (error) {
      if (error.status === 404) return part.remove();
    }
  }
  if (film.state !== "ready" || signal.aborted) return;
  if (waited) say("The film is ready.");
  const button = part.querySelector(".show");
  button.hidden = false;
  button.onclick = () => fetchFilm(film, part, record, signal);
}

/** Fetched as a whole: a player cannot show a key to the service. */
async function fetchFilm(film, part, record, signal) {
  const button = part.querySelector(".show"), player = part.querySelector("video"), save = part.querySelector(".save");
  button.disabled = true;
  button.textContent = "Fetching …";
  try {
    const blob = await show(player, `v1/videos/${film.id}/film.mp4`, signal);
    if (!blob) return part.remove();
    showBlob(save, blob);
    save.download = fileName(record.name, "mp4");
    button.hidden = true;
    player.focus();
  } catch (error) {
    if (!signal.aborted) complain(part.querySelector(".error"), error);
  } finally {
    button.disabled = false;
    button.textContent = "Show";
  }
}
