// A request of the API that changes something; returns its answer. An error has the yard's sentence, and its faults.
const { root, csrf } = document.documentElement.dataset;

export async function send(method, path, body) {
  let answer;
  try {
    answer = await fetch(`${root}/api/v1/${path}`, {
      method, headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf ?? "" }, body: JSON.stringify(body),
    });
  } catch { throw new Error("The yard did not answer; nobody knows whether it heard."); }
  const document = answer.headers.get("Content-Type")?.includes("json") ? await answer.json() : {};
  if (!answer.ok) {
    const wrong = new Error(document.detail ?? document.title ?? `The yard refused it (${answer.status}).`);
    throw Object.assign(wrong, { faults: document.faults ?? [] });
  }
  return document;
}
