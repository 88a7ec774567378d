// Small things that all views use.

export const find = (id) => document.getElementById(id);

/** A copy of the one element inside a template. */
export const copyOf = (id) => find(id).content.firstElementChild.cloneNode(true);

/** Tell people who listen to the page. */
export function say(words) {
  find("said").textContent = words;
}

/** Show what went wrong beside where it belongs; nothing: take it away. `field` is marked for those who listen. */
export function complain(place, problem, field = null) {
  const element = typeof place === "string" ? find(place) : place;
  element.textContent = problem ? (typeof problem === "string" ? problem : problem.message) : "";
  element.hidden = !problem;
  if (!field) return;
  if (problem) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}

/** Ask before something that cannot be undone: resolves to whether it is wanted. */
export function areYouSure(title, words, yes) {
  const dialog = find("sure");
  find("sure-title").textContent = title;
  find("sure-words").textContent = words;
  find("sure-yes").textContent = yes;
  return new Promise((resolve) => {
    let wanted = false;
    find("sure-yes").onclick = () => ((wanted = true), dialog.close());
    find("sure-no").onclick = () => dialog.close();
    dialog.onclose = () => resolve(wanted);
    dialog.showModal();
    find("sure-no").focus();
  });
}

/** "12 minutes ago", from an ISO time. */
export function ago(time) {
  const seconds = (new Date(time) - Date.now()) / 1000;
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]])
    if (Math.abs(seconds) >= size) return words.format(Math.round(seconds / size), unit);
  return "just now";
}

export const fileName = (name, ending) => `${name.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "avatar"}-generated.${ending}`;

export const size = (bytes) => (bytes < 1 << 20 ? `${Math.ceil(bytes / 1024)} KB` : `${Math.round(bytes / (1 << 20))} MB`);

export const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

export const still = matchMedia("(prefers-reduced-motion: reduce)");

/** A pause that ends early when `signal` is aborted. */
export function pause(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/** The words of a state, for lists and badges. */
export function stateWords(record) {
  if (record.state === "ready") return record.mode === "FT" ? "learned" : "ready (first version)";
  if (record.state === "failed") return record.preview_ready ? "learning failed; first version ready" : "failed";
  if (record.state === "learning") return `learning, ${Math.round(record.progress * 100)} %`;
  return record.preview_ready ? "first version ready, waiting to be learned" : "looking at the pictures";
}
