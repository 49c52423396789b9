// Recordings that are attached: sound for a model that hears, for others text in the message.

const byId = (id) => document.getElementById(id);
const [composer, chips, area, note] = ["composer", "chips", "message", "recorded"].map(byId);
const { source, largestPicture } = chips.dataset;
const OUT_OF_REACH = "Can't reach Wick. Try again.";
const headers = {
  Accept: "text/plain", ...JSON.parse(document.body.getAttribute("hx-headers:inherited") ?? "{}"),
};
composer.addEventListener("taken", () => { note.textContent = ""; });

// The chip of a file, as `send` makes it, or its text.
export async function take(file, signal, chip, send) {
  note.textContent = "";
  let why = "This model can't hear.";
  if (byId("model")?.selectedOptions[0]?.matches("[data-hears]")) {
    const fits = file.size <= largestPicture;
    const made = fits && await send(file, signal, chip).catch((error) => error);
    if (made && !(made instanceof Error)) return made;
    why = made ? made.message : `${file.name} is too large for a model to hear.`;
  }
  chip.querySelector(".about").textContent = `${why} Turning it into text …`;
  const place = new URL(`../../dictation/file?name=${encodeURIComponent(file.name)}`, import.meta.url);
  const answer = await fetch(place, { method: "POST", body: file, headers, signal }).catch(() => null);
  if (!answer?.ok) throw new Error(`${why} ${await reason(answer)}`);
  note.textContent = `${why} So ${why.startsWith(file.name) ? "it" : file.name} became text.`;
  write((await answer.json()).text);
  return null;
}
// Puts what is said in a recording into the message, instead of it.
export async function turn(chip) {
  const [button, about] = ["[data-writes]", ".about"].map((one) => chip.querySelector(one));
  const address = `${source}/${chip.dataset.attachment}`;
  button.disabled = true;
  about.textContent = "Turning it into text …";
  becomes(chip, "reading");
  const removed = new AbortController(); // the server need not go on
  chip.querySelector("button.icon").addEventListener("click", () => removed.abort());
  const answer = await fetch(`${address}/text`, { headers, signal: removed.signal }).catch(() => null);
  const text = await answer?.text().catch(() => "");
  if (!chip.isConnected) return;
  if (answer?.ok) {
    write(text);
    fetch(address, { method: "DELETE", headers });
    chip.remove();
    area.focus();
    return;
  }
  about.textContent = text || OUT_OF_REACH;
  button.disabled = false;
  becomes(chip, "ready");
}
const reason = (answer) => answer?.text() ?? OUT_OF_REACH;
function becomes(chip, status) { // a message waits for what is being read
  chip.dataset.status = status;
  chips.dispatchEvent(new Event("changed"));
}
function write(text) {
  const gap = /\S$/.test(area.value.slice(0, area.selectionStart)) ? " " : "";
  area.setRangeText(gap + text, area.selectionStart, area.selectionEnd, "end");
  area.dispatchEvent(new Event("input", { bubbles: true }));
}
