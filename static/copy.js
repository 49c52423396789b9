// Copy buttons: of a block of code its text, of a message its Markdown, which the server has, or with Alt
// its text as it is read.

const announcer = document.getElementById("announcer");
document.addEventListener("click", async ({ target, altKey }) => {
  const button = target.closest("button.copy");
  if (!button) return;
  const said = await write(textFor(button, altKey)).then(() => "Copied", () => "Not copied");
  const sign = button.querySelector("use");
  if (announcer) announcer.textContent = said;
  if (!sign) button.textContent = said;
  else if (said === "Copied") sign.setAttribute("href", "#i-check");
  setTimeout(() => {
    if (sign) sign.setAttribute("href", "#i-copy");
    else button.textContent = "Copy";
    if (announcer?.textContent === said) announcer.textContent = "";
  }, 2000);
});
async function textFor(button, isPlain) {
  if (button.dataset.of) {
    const shown = document.getElementById(button.dataset.of);
    return shown.value ?? shown.innerText;
  }
  if (!button.dataset.source) return button.closest(".code").querySelector("code").textContent;
  if (isPlain) return readable(button.closest(".message"));
  const reply = await fetch(button.dataset.source);
  return reply.ok ? reply.text() : Promise.reject(new Error(reply.statusText));
}
function readable(message) {
  const body = message.querySelector(".body");
  const names = [...message.querySelectorAll("[data-attachment]")]
    .map((file) => file.querySelector(".name")?.textContent ?? file.querySelector("img")?.alt);
  const bars = body?.querySelectorAll(".bar") ?? [];
  for (const bar of bars) bar.hidden = true;
  const text = body?.innerText.trim();
  for (const bar of bars) bar.hidden = false;
  return [names.length ? `Attached: ${names.join(", ")}` : "", text].filter(Boolean).join("\n\n");
}

// Safari writes only within the click: the call must not wait, the text may come later.
async function write(text) {
  if (navigator.clipboard?.write) {
    const plain = text.then((found) => new Blob([found], { type: "text/plain" }));
    return navigator.clipboard.write([new ClipboardItem({ "text/plain": plain })]);
  }
  const area = Object.assign(document.createElement("textarea"), { value: await text });
  document.body.append(area); // the old way, for a page from another machine without TLS
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  return isDone || Promise.reject(new Error("refused"));
}
