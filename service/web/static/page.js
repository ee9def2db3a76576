// What every page does: the theme, live news, and whatever of its parts need a script.
import { actOn } from "./actions.js";
import { readOff } from "./charts.js";
import { edit } from "./editing.js";
import { fetchLater } from "./later.js";
import { follow } from "./live.js";
import { keepSelection } from "./selection.js";

const THEMES = ["system", "light", "dark"];

function theme(button) {
  const root = document.documentElement;
  const show = () => { button.textContent = `Theme: ${root.dataset.theme ?? "system"}`; };
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
    if (next === "system") { delete root.dataset.theme; localStorage.removeItem("theme"); }
    else { root.dataset.theme = next; localStorage.setItem("theme", next); }
    show();
  });
  show();
}

theme(document.getElementById("theme"));
readOff(document);
actOn(document);
keepSelection(document.getElementById("chosen"));
edit(document.getElementById("editing"));
fetchLater(document.querySelector("[data-later]"));
if (document.querySelector("[data-live]")) follow(document.getElementById("live"));
else if (document.documentElement.dataset.csrf) {  // whoever comes back to it may have logged out meanwhile
  const back = performance.getEntriesByType("navigation")[0]?.type === "back_forward";
  addEventListener("pageshow", ({ persisted }) => { if (persisted || back) location.reload(); });
}
