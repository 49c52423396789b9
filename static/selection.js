// What is selected in an answer that grows stays selected when its last block is rendered anew.

let kept = null; // its two ends, as characters from the start of the answer, and the text between

document.addEventListener("htmx:ws:before:message:incoming", () => {
  const { anchorNode, anchorOffset, focusNode, focusOffset, isCollapsed } = getSelection();
  kept = isCollapsed ? null : {
    nodes: [anchorNode, focusNode],
    ends: [endOf(anchorNode, anchorOffset), endOf(focusNode, focusOffset)],
    text: getSelection().getRangeAt(0).toString(),
  };
});
new MutationObserver(() => {
  if (!kept || kept.nodes.every((node) => node.isConnected)) return;
  const shift = shiftOf(kept);
  const [from, to] = kept.ends.map((end) => placeOf(end, shift));
  if (from && to) getSelection().setBaseAndExtent(...from, ...to);
}).observe(document.getElementById("log"), { childList: true, subtree: true });

function endOf(node, offset) {
  const body = (node.closest ? node : node.parentElement)?.closest(".body.text");
  if (!body) return { node, offset };
  const before = new Range();
  before.setStart(body, 0);
  before.setEnd(node, offset);
  return { body: body.id, count: before.toString().length };
}
// A sign of Markdown that has been understood by now is gone from before the selected text.
function shiftOf({ ends: [one, other], text }) {
  const content = one.body === other.body && document.getElementById(one.body)?.textContent;
  if (!content) return 0;
  const start = Math.min(one.count, other.count);
  const found = [content.lastIndexOf(text, start), content.indexOf(text, start)].filter((at) => at >= 0);
  const shifts = found.map((at) => at - start).sort((a, b) => Math.abs(a) - Math.abs(b));
  return shifts[0] ?? 0;
}
function placeOf({ node, offset, body, count }, shift) {
  if (node) return node.isConnected && [node, offset];
  const walk = document.createTreeWalker(document.getElementById(body) ?? document, NodeFilter.SHOW_TEXT);
  let left = count + shift;
  while (walk.nextNode()) {
    if (left <= walk.currentNode.length) return [walk.currentNode, left];
    left -= walk.currentNode.length;
  }
  return null;
}
