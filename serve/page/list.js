// The first view: what this is, and the avatars that are there.

import { ask, askJson, show } from "./api.js";
import { playSample, drawFace, sampleTrack } from "./drawing.js";
import { areYouSure, ago, complain, copyOf, find, say, stateWords, still } from "./parts.js";

const AT_ONCE = 24;
let stopMotion = null;

export async function showHome(signal) {
  signal.addEventListener("abort", () => stopMotion?.());
  showMotion();
  find("list").replaceChildren();
  find("list-empty").hidden = true;
  complain("list-error", null);
  await more("", signal);
}

async function more(after, signal) {
  const button = find("list-more");
  button.hidden = true;
  let page;
  try {
    page = await askJson(`v1/avatars?limit=${AT_ONCE}${after && `&after=${encodeURIComponent(after)}`}`, { signal });
  } catch (error) {
    if (!signal.aborted) complain("list-error", error);
    return;
  }
  for (const record of page.avatars) find("list").append(entry(record, signal));
  find("list-empty").hidden = find("list").children.length > 0;
  button.hidden = !page.next;
  button.onclick = () => more(page.next, signal);
}

function entry(record, signal) {
  const part = copyOf("a-person");
  part.querySelector("a").href = `#/avatar/${record.id}`;
  part.querySelector("b").textContent = record.name;
  part.querySelector(".state").textContent = `${stateWords(record)} · ${ago(record.created_at)}`;
  if (record.preview_ready) show(part.querySelector("img"), record.links.preview, signal).catch(() => {}); // the name is enough
  const button = part.querySelector(".delete");
  button.setAttribute("aria-label", `Delete ${record.name}`);
  button.onclick = async () => {
    if (!(await deleteAvatar(record, "list-error"))) return;
    part.remove();
    find("list-empty").hidden = find("list").children.length > 0;
    find("home-title").focus();
  };
  return part;
}

/** Ask, then delete; resolves to whether it is gone. */
export async function deleteAvatar(record, place) {
  const words = "Its pictures, its films and everything learned from them are deleted from the service. This cannot be undone.";
  if (!(await areYouSure(`Delete ${record.name}?`, words, "Delete"))) return false;
  try {
    await ask(`v1/avatars/${record.id}`, { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) return complain(place, error), false;
  }
  say(`${record.name} is deleted.`);
  return true;
}

async function showMotion() {
  stopMotion?.();
  stopMotion = null;
  const canvas = find("motion"), button = find("motion-pause");
  let track;
  try {
    track = await sampleTrack();
  } catch {
    return; // an ornament
  }
  drawFace(canvas, track.frames[0], track.view);
  const play = () => ((stopMotion = playSample(canvas, track)), (button.textContent = "Pause"));
  if (!still.matches) play();
  else button.textContent = "Play";
  button.hidden = false;
  button.onclick = () => (stopMotion ? (stopMotion(), (stopMotion = null), (button.textContent = "Play")) : play());
}
