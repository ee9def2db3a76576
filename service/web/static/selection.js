// Runs that were selected stay so over pages, sorting and news: their numbers stand in the address.
export function keepSelection(form) {
  if (!form) return;
  const selected = new Set(form.dataset.selected.split(",").filter(Boolean));
  const boxes = () => [...form.querySelectorAll("input[name=run]")];

  const show = () => {
    for (const box of boxes()) box.checked = selected.has(box.value);
    const all = form.querySelector("#all");
    if (all) {
      all.checked = boxes().every((box) => box.checked);
      all.indeterminate = !all.checked && boxes().some((box) => box.checked);
    }
    const count = form.querySelector("#count");
    if (count) count.textContent = selected.size ? `${selected.size} selected` : "None selected";
    for (const button of form.querySelectorAll("[data-least]")) button.disabled = selected.size < button.dataset.least;
    for (const button of form.querySelectorAll("[data-action]")) button.dataset.targets = [...selected].join(",");
    for (const link of form.querySelectorAll("a.sort, nav a")) link.href = withSelection(link.href);
  };
  const withSelection = (address) => {
    const url = new URL(address);
    if (selected.size) url.searchParams.set("select", [...selected].join(",")); else url.searchParams.delete("select");
    return url.href;
  };
  const keep = () => { history.replaceState(null, "", withSelection(location.href)); show(); };

  form.addEventListener("change", (event) => {
    const changed = event.target.id === "all" ? boxes() : [event.target];
    for (const box of changed) selected[event.target.checked ? "add" : "delete"](box.value);
    keep();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();  // runs of other pages count too
    const asked = new URLSearchParams([...selected].map((run) => ["run", run]));
    location.href = `${form.action}?${asked}`;
  });
  document.addEventListener("looked", show);
  show();
}
