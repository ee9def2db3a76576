// News: one EventSource a page tells that something changed, then the page is fetched again and its live parts are made
// equal to the new ones. What is shown is written in one place, the templates; and a lost event costs nothing.
import { morph } from "./morph.js";

const PAUSE = 800;        // milliseconds between two looks
const PATIENCE = 15_000;  // longest pause between two tries to connect
const EVENTS = ["ready", "reset", "run", "removed", "workers", "queues"];
const root = document.documentElement.dataset.root;

// The page of a run does not mind what becomes of others.
function concerns(name, event) {
  const mine = document.getElementById("main").dataset.run;
  return !mine || (name !== "run" && name !== "removed") || String(JSON.parse(event.data).id) === mine;
}

export function follow(sign) {
  let timer = null, looked = 0, waits = 1000, source = null;

  const show = (state, words) => {
    if (sign.dataset.state === state) return;
    sign.dataset.state = state;
    sign.lastElementChild.textContent = words;
  };
  const soon = () => {
    if (timer || document.hidden) return;
    timer = setTimeout(async () => {
      timer = null;
      looked = Date.now();
      if (!(await look())) lost();
      else if (source.readyState === EventSource.OPEN) show("live", "live");
    }, Math.max(0, looked + PAUSE - Date.now()));
  };
  const lost = () => show("lost", "reconnecting…");
  const connect = () => {
    source = new EventSource(`${root}/api/v1/events`);
    source.onopen = () => { waits = 1000; show("live", "live"); soon(); };
    for (const name of EVENTS) source.addEventListener(name, (event) => { if (concerns(name, event)) soon(); });
    source.addEventListener("away", () => show("lost", "database away"));
    source.onerror = () => {
      lost();
      if (source.readyState !== EventSource.CLOSED) return;  // it tries again by itself
      setTimeout(connect, waits);
      waits = Math.min(2 * waits, PATIENCE);
    };
  };
  document.addEventListener("visibilitychange", soon);
  document.addEventListener("changed", soon);
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
  connect();
}

async function look() {
  let answer;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  } catch { return false; }  // the sign says so, and the next event tries again
  if (answer.redirected && new URL(answer.url).pathname.endsWith("/login")) { location.reload(); return true; }
  if (!answer.ok) return answer.status < 500;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (other) morph(part, other);
  }
  for (const part of document.querySelectorAll("[data-later]")) {
    const other = fresh.getElementById(part.id);
    if (other && part.dataset.ready !== other.dataset.ready) {
      part.replaceWith(document.importNode(other, true));
      document.dispatchEvent(new CustomEvent("ready"));
    }
  }
  document.dispatchEvent(new CustomEvent("looked"));
  return true;
}
