// A block of code: wrapped, saved as a file, and where it is a page or a drawing, seen as one.

document.addEventListener("click", ({ target }) => {
  const button = target.closest(".bar button");
  const block = button?.closest(".code");
  if (!block) return;
  if (button.matches(".wrap")) button.ariaPressed = block.classList.toggle("wrapped");
  if (button.matches(".save")) save(textOf(block), button.value);
  if (button.matches(".preview")) button.ariaPressed = preview(block, button.value);
});
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
