// Whatever changes something asks once, says what it will do, and then tells what really happened.
import { send } from "./send.js";

const SHOWN = 5;  // refusals in words

const RUNS = {
  cancel: ["Cancel", "What a run has learned stays, and it can be retried from there."],
  pause: ["Pause", "A run that trains saves its work first; it can be resumed to the same result."],
  resume: ["Resume", "It goes on from where it was."],
  retry: ["Retry", "It goes on from its last checkpoint, or begins anew without one."],
};
const WORKERS = {
  drain: ["Drain", "It finishes what it trains, takes nothing new, and ends."],
  stop: ["Stop", "It saves what it trains, hands it over to others, and ends."],
  scale: ["Scale", "A slot that trains ends its run before it goes."],
  trust: ["Trust", "It gets runs again."],
};

export function actOn(page) {
  const dialog = page.getElementById("ask");
  page.addEventListener("click", (event) => {
    const button = event.target.closest("[data-action]");
    if (button && !button.disabled) ask(dialog, button.dataset);
  });
}

function ask(dialog, { action, what, targets, number }) {
  const names = targets.split(",");
  const find = (name) => dialog.querySelector(name);
  const [verb, words] = (what === "worker" ? WORKERS : RUNS)[action];
  const object = what === "worker" ? `worker ${targets}` : names.length === 1 ? `run ${targets}` : `${names.length} runs`;
  const [yes, no, told, field] = [".yes", ".no", "#ask-told", "#ask-number"].map(find);

  find("#ask-title").textContent = `${verb} ${object}?`;
  find("#ask-words").textContent = words;
  told.textContent = "";
  field.hidden = number === undefined;
  field.querySelector("span").textContent = "Slots";
  field.querySelector("input").value = number ?? 1;
  yes.textContent = verb;
  yes.hidden = yes.disabled = false;
  no.textContent = "Not now";
  no.onclick = () => dialog.close();
  dialog.querySelector("form").onsubmit = async (event) => {
    event.preventDefault();
    yes.disabled = no.disabled = true;
    told.textContent = "Asking the yard …";
    told.textContent = await tell(action, what, names, Number(field.querySelector("input").value));
    no.disabled = false;
    yes.hidden = true;  // and disabled still: Enter in a field asks no second time
    no.textContent = "Close";
    no.focus();
    document.dispatchEvent(new CustomEvent("changed"));
  };
  dialog.showModal();
  no.focus();
}

// What became of it, in words.
async function tell(action, what, names, number) {
  try {
    if (what === "worker")
      return sentence(await send("POST", `workers/${encodeURIComponent(names[0])}/${action}`, action === "scale" ? { slots: number } : {}));
    return states(await send("POST", `runs/${action}`, { runs: names.map(Number) }));
  } catch (error) { return error.message; }
}

const sentence = (answer) => answer.sentence[0].toUpperCase() + answer.sentence.slice(1) + ".";

function states({ runs, counts, notes }) {
  if (runs.length === 1 && runs[0].state) return [`Run ${runs[0].id} is ${runs[0].state} now.`, ...notes].join("\n");
  const done = Object.entries(counts).map(([state, number]) => `${number} ${number === 1 ? "is" : "are"} ${state} now`);
  const refused = runs.filter((run) => run.error).map((run) => run.error);
  const more = refused.length > SHOWN ? [`and ${refused.length - SHOWN} more could not`] : [];
  return [...done, ...refused.slice(0, SHOWN), ...more, ...notes].join("\n");
}
