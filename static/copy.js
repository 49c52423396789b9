// Copy buttons: of a block of code its text, of an answer its Markdown, which the server has.

const announcer = document.getElementById("announcer");
document.addEventListener("click", async ({ target }) => {
  const button = target.closest("button.copy");
  if (!button) return;
  const said = await write(textFor(button)).then(() => "Copied", () => "Not copied");
  announcer.textContent = button.textContent = said;
  setTimeout(() => { button.textContent = "Copy"; announcer.textContent = ""; }, 2000);
});
async function textFor(button) {
  if (!button.dataset.source) return button.closest(".code").querySelector("code").textContent;
  const reply = await fetch(button.dataset.source);
  return reply.ok ? reply.text() : Promise.reject(new Error(reply.statusText));
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
