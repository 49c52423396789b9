// A block of code: wrapped, saved as a file, and where it is a page or a drawing, seen as one.

const chosen = new Map(); // what was switched, by the ids of messages and the places of blocks in them

document.addEventListener("click", ({ target }) => {
  const button = target.closest(".bar button");
  const block = button?.closest(".code");
  if (!block) return;
  if (button.matches(".wrap")) button.ariaPressed = block.classList.toggle("wrapped");
  if (button.matches(".save")) save(textOf(block), button.value);
  if (button.matches(".preview")) button.ariaPressed = preview(block, button.value);
  const message = block.closest(".message");
  if (!message || !button.ariaPressed) return;
  const place = [...message.querySelectorAll(".code")].indexOf(block);
  chosen.set(`${message.id} ${place} .${button.classList[0]}`, button.ariaPressed);
});
// A message that is rendered anew keeps what was switched in it.
const log = document.getElementById("log");
if (log) new MutationObserver(() => {
  for (const [key, isPressed] of chosen) {
    const [id, place, name] = key.split(" ");
    const button = document.getElementById(id)?.querySelectorAll(".code")[place]?.querySelector(name);
    if (button && button.ariaPressed !== isPressed) button.click();
  }
}).observe(log, { childList: true, subtree: true });
const textOf = (block) => block.querySelector("code").textContent;

function save(text, name) {
  const link = Object.assign(document.createElement("a"), {
    href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: name,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// In a frame of no origin and without a network, to which an empty page of ours is sent
// (app/web/pages/artifact.py).
function preview(block, kind) {
  const pre = block.querySelector("pre");
  const shown = block.querySelector("iframe");
  pre.hidden = !shown;
  if (shown) {
    shown.remove();
    return false;
  }
  const frame = Object.assign(document.createElement("iframe"), {
    title: `Preview (${kind})`, src: new URL("../artifact", import.meta.url),
  });
  frame.setAttribute("sandbox", "allow-scripts");
  frame.dataset.artifact = kind;
  frame.addEventListener("load", () => {
    frame.contentWindow.postMessage({ kind, source: textOf(block) }, "*");
  }, { once: true });
  block.append(frame);
  return true;
}
