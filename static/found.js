// Who comes from the search sees the words that were found, wherever Markdown has put them: they are
// painted over the message, whose elements stay as they are.

const words = new URLSearchParams(location.search).get("find")?.split(" ").filter(Boolean) ?? [];
const message = document.getElementById(location.hash.slice(1))?.closest(".message");
const file = new URLSearchParams(location.search).get("file");
const inFile = file && `.attachment[data-attachment="${CSS.escape(file)}"]`;
if (inFile) message?.querySelector(inFile)?.setAttribute("open", "");
const body = message?.querySelector(".body");
if (body && words.length && CSS.highlights) {
  const found = ranges(folded(body), words);
  CSS.highlights.set("found", new Highlight(...found));
  message.classList.toggle("has-found", found.length > 0);
  if (found.length) toMiddle(found[0]);
}

// The text without capitals and accents, and for each of its characters where it stands.
function folded(element) {
  const walk = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const [text, places] = [[], []];
  let block = null;
  while (walk.nextNode()) {
    const { data, parentElement } = walk.currentNode;
    const around = parentElement.closest("p, li, td, th, pre, h1, h2, h3, h4, h5, h6, .body");
    if (block && around !== block) places.push(text.push("\n") && null);
    block = around;
    let offset = 0;
    for (const character of data) {
      const plain = character.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
      for (const unit of plain.split("")) {
        text.push(unit);
        places.push({ node: walk.currentNode, start: offset, end: offset + character.length });
      }
      offset += character.length;
    }
  }
  return { text: text.join(""), places };
}
function ranges({ text, places }, words) {
  const found = [];
  words.forEach((word, number) => {
    for (const { index, 0: hit } of text.matchAll(pattern(word, number === words.length - 1))) {
      const [first, last] = [places[index], places[index + hit.length - 1]];
      if (!first || !last) continue;
      const range = new Range();
      range.setStart(first.node, first.start);
      range.setEnd(last.node, last.end);
      found.push(range);
    }
  });
  return found.sort((one, other) => one.compareBoundaryPoints(Range.START_TO_START, other));
}
// As the search finds: whole words, the last also as a beginning; signs, and text without spaces,
// anywhere.
function pattern(word, isLast) {
  const plain = word.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const literal = plain.replace(/[^\p{L}\p{N}\s]/gu, (sign) => `\\u{${sign.codePointAt(0).toString(16)}}`);
  const runs = plain.match(/[\p{L}\p{N}]+/gu);
  const spaceless =
    /[\u0e00-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\u{20000}-\u{3ffff}]/u;
  if (!runs || spaceless.test(plain)) {
    return new RegExp(literal, "gu");
  }
  const end = isLast ? "[\\p{L}\\p{N}]*" : "(?![\\p{L}\\p{N}])";
  return new RegExp(`(?<![\\p{L}\\p{N}])(?:${literal}|${runs.join("[^\\p{L}\\p{N}]+")})${end}`, "gu");
}
function toMiddle(range) {
  const box = document.getElementById("scroll");
  range.startContainer.parentElement.scrollIntoView({ block: "nearest", inline: "center" });
  box.scrollTop += range.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 3;
}
