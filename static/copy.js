// Copy buttons: of a block of code its text, of an answer its Markdown, which the server has.

const announcer = document.getElementById("announcer");

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  let said = "Copied";
  try {
    await write(await textFor(button));
  } catch {
    said = "Not copied";
  }
  announcer.textContent = button.textContent = said;
  setTimeout(() => { button.textContent = "Copy"; announcer.textContent = ""; }, 2000);
});

async function textFor(button) {
  if (!button.dataset.source) return button.closest(".code").querySelector("code").textContent;
  const reply = await fetch(button.dataset.source);
  if (!reply.ok) throw new Error(reply.status);
  return reply.text();
}

async function write(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = Object.assign(document.createElement("textarea"), { value: text });
  document.body.append(area); // the old way, for a page from another machine without TLS
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("refused");
}
