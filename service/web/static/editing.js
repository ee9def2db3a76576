// Name, note and tags of a run. The form stands outside the live parts, so that no news eats what somebody types; it
// sends what was changed in it and nothing else, so that it does not undo what others changed meanwhile.
import { send } from "./send.js";

const words = (text) => [...new Set(text.split(/[\s,]+/).filter(Boolean))];

export function edit(part) {
  if (!part) return;
  const form = part.querySelector("form"), told = form.querySelector("[role=status]");
  const { name, note, tag } = form.elements;
  const fields = { name, note, tag, untag: tag };
  const head = document.getElementById("head");
  let before;

  const fill = () => {
    before = { name: head.dataset.name, note: head.dataset.note, tags: words(head.dataset.tags) };
    [name.value, note.value, tag.value] = [before.name, before.note, before.tags.join(" ")];
    quiet();
  };
  const quiet = () => {
    told.textContent = "";
    for (const field of [name, note, tag]) wrong(field, "");
  };
  const close = () => { part.open = false; part.querySelector("summary").focus(); };

  part.addEventListener("toggle", () => { if (part.open) { fill(); name.focus(); } });
  form.addEventListener("input", (event) => { told.textContent = ""; wrong(event.target, ""); });
  form.addEventListener("reset", (event) => { event.preventDefault(); close(); });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    quiet();
    const changes = changed(before, { name: name.value, note: note.value, tags: words(tag.value) });
    if (!Object.keys(changes).length) { told.textContent = "Nothing is changed."; return; }
    form.setAttribute("aria-busy", "true");
    told.textContent = "Asking the yard …";
    try {
      const { runs } = await send("PATCH", "runs", { runs: [Number(part.dataset.run)], ...changes });
      before = { name: name.value, note: note.value, tags: words(tag.value) };
      told.textContent = runs.length ? "Saved." : "It was so already.";
      document.dispatchEvent(new CustomEvent("changed"));
    } catch (error) {
      const fault = error.faults?.find(({ path }) => fields[path.split("[")[0]]);
      told.textContent = fault ? "" : error.message;
      if (fault) { const field = fields[fault.path.split("[")[0]]; wrong(field, fault.sentence); field.focus(); }
    }
    form.removeAttribute("aria-busy");
  });
}

function changed(before, now) {
  const added = now.tags.filter((tag) => !before.tags.includes(tag));
  const gone = before.tags.filter((tag) => !now.tags.includes(tag));
  const all = [["name", now.name, now.name !== before.name], ["note", now.note, now.note !== before.note],
               ["tag", added, added.length], ["untag", gone, gone.length]];
  return Object.fromEntries(all.filter(([, , is]) => is).map(([key, value]) => [key, value]));
}

// The sentence beside the field that it is about; without one the field is right.
function wrong(field, sentence) {
  document.getElementById(field.getAttribute("aria-describedby")).textContent = sentence;
  if (sentence) field.setAttribute("aria-invalid", "true"); else field.removeAttribute("aria-invalid");
}
