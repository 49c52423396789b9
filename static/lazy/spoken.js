// What of an answer is spoken. It is taken from the page and not made of Markdown on the server: here an
// answer stands block by block while it is written, cleaned, with code, tables and formulas as elements.

const LONGEST = 240; // characters of one utterance: some voices fall silent in longer ones
const INLINE = new Set(
  "A ABBR B CODE DEL EM I KBD MARK MATH S SPAN STRONG SUB SUP U".split(" "),
);
const NEVER = ".bar, .reference, .footnote > .label, button, iframe, [hidden]";
const EMOJI = new RegExp(
  "(?:\\p{Emoji_Presentation}|\\p{Extended_Pictographic}\\uFE0F|\\p{Regional_Indicator}"
    + "|\\p{Emoji_Modifier}|[\\u200D\\uFE0E\\uFE0F])+", "gu",
);

// Sentences of an answer's body: { text, lang }. Of one that is still written the last may yet change, so
// it is left out.
export function sentencesOf(body, isLive = false) {
  const open = body.querySelector(":scope > .open");
  const lang = languageOf(wordsIn(body));
  const found = [...unitsOf(body, lang)].flatMap((unit) => split(unit));
  return isLive && open?.textContent.trim() ? found.slice(0, -1) : found;
}

function wordsIn(body) {
  const copy = body.cloneNode(true);
  for (const one of copy.querySelectorAll(`${NEVER}, .code, table`)) one.remove();
  return copy.textContent;
}

// Blocks, each spoken by itself.
function* unitsOf(parent, lang) {
  let line = "";
  for (const node of parent.childNodes) {
    if (node.nodeType === Node.TEXT_NODE || INLINE.has(node.nodeName.toUpperCase())) {
      line += inlineOf(node, lang);
    } else if (node.nodeName === "BR") {
      line += "\n";
    } else if (node.nodeType === Node.ELEMENT_NODE && !node.matches(NEVER)) {
      yield { text: line, lang };
      line = "";
      yield* blockOf(node, lang);
    }
  }
  yield { text: line, lang };
}
function* blockOf(node, lang) {
  if (node.matches(".code, pre")) yield { text: aboutCode(node), lang: "en" };
  else if (node.matches("table")) yield { text: aboutTable(node), lang: "en" };
  else if (node.matches(".formula")) yield formulaOf(node, lang);
  else if (node.matches("ol > li")) yield* numbered(node, lang);
  else yield* unitsOf(node, lang);
}
function* numbered(item, lang) {
  const { children } = item.parentElement;
  const number = (item.parentElement.start ?? 1) + [...children].indexOf(item);
  let isFirst = true;
  for (const unit of unitsOf(item, lang)) {
    if (isFirst && unit.text.trim()) unit.text = `${number}. ${unit.text.trim()}`;
    isFirst &&= !unit.text.trim();
    yield unit;
  }
}
function aboutCode(node) {
  const code = (node.querySelector("code") ?? node).textContent.replace(/\n$/, "");
  return `A code block of ${counted(code.split("\n").length, "line")}.`;
}
function aboutTable(table) {
  const rows = counted(table.querySelectorAll("tbody tr").length, "row");
  return `A table of ${rows} and ${counted(table.rows[0]?.cells.length ?? 0, "column")}.`;
}
const counted = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
function formulaOf(node, lang) {
  const formula = node.querySelector("math");
  const text = formula ? formulaWords(formula, lang) : node.textContent;
  return text.length > 120 ? { text: "A formula.", lang: "en" } : { text, lang };
}

function inlineOf(node, lang) {
  if (node.nodeType === Node.TEXT_NODE) {
    const isRaw = /-tail$/.test(node.parentElement?.id); // not rendered yet
    return isRaw ? node.data.replace(/[*_`#~|]+/g, "") : node.data;
  }
  if (node.matches(NEVER)) return "";
  if (node.localName === "math") return ` ${formulaWords(node, lang)} `;
  if (node.localName === "a") return linkOf(node);
  return [...node.childNodes].map((one) => inlineOf(one, lang)).join("");
}
function linkOf(link) {
  const text = link.textContent;
  const isAddress = /^(https?:\/\/|www\.)\S+$/i.test(text.trim());
  return isAddress ? link.hostname.replace(/^www\./, "") : text;
}

// Formulas in words where the answer is English, else as signs.
const SIGNS = {
  "=": "equals", "+": "plus", "-": "minus", "−": "minus", "±": "plus or minus", "⋅": "times", "·": "times",
  "×": "times", "∗": "times", "/": "over", "÷": "divided by", "<": "is less than", ">": "is greater than",
  "≤": "is at most", "≥": "is at least", "≠": "does not equal", "≈": "is about", "→": "to", "∞": "infinity",
  "∑": "the sum", "∫": "the integral", "∏": "the product", "∈": "in", "∂": "partial", "√": "the root of",
};
const POWERS = { 2: "squared", 3: "cubed" };
function formulaWords(node, lang) {
  if (lang !== "en") return node.textContent.trim();
  return inWords(node).replace(/\s+/g, " ").trim();
}
function inWords(node) {
  if (!node) return "";
  const [first, second, third] = node.children;
  const all = () => [...node.children].map(inWords).join(" ");
  switch (node.localName) {
    case "annotation": return "";
    case "mfrac": return `${inWords(first)} over ${inWords(second)}`;
    case "msqrt": return `the square root of ${all()}`;
    case "mroot": return `the root of order ${inWords(second)} of ${inWords(first)}`;
    case "msup": return power(first, second);
    case "msub": case "munder": return `${inWords(first)} sub ${inWords(second)}`;
    case "msubsup": case "munderover": return bounded(first, second, third);
  }
  if (node.children.length) return all();
  const sign = node.textContent.trim();
  return SIGNS[sign] ?? sign.replace(/[\u2061-\u2064]/g, "");
}
function power(base, exponent) {
  const name = POWERS[exponent.textContent.trim()];
  return name ? `${inWords(base)} ${name}` : `${inWords(base)} to the power of ${inWords(exponent)}`;
}
function bounded(base, below, above) {
  if (/[∑∫∏]/.test(base.textContent)) {
    return `${inWords(base)} from ${inWords(below)} to ${inWords(above)} of`;
  }
  const name = POWERS[above.textContent.trim()] ?? `to the power of ${inWords(above)}`;
  return `${inWords(base)} sub ${inWords(below)} ${name}`;
}

function split({ text, lang }) {
  const plain = text
    .replace(/☑\s*/g, lang === "en" ? "Done: " : "").replace(/☐\s*/g, lang === "en" ? "To do: " : "")
    .replace(EMOJI, " ").replace(/\s+/g, " ").trim();
  if (!/[\p{L}\p{N}]/u.test(plain)) return [];
  const whole = [];
  for (const part of segmentsOf(plain, lang)) {
    // "1." and "Dr." are no sentences.
    if (whole.length && whole.at(-1).length < 5) whole[whole.length - 1] += ` ${part}`;
    else whole.push(part);
  }
  return whole.flatMap(shortened).map((one) => ({ text: one, lang }));
}
function segmentsOf(text, lang) {
  const parts = Intl.Segmenter
    ? [...new Intl.Segmenter(lang || "en", { granularity: "sentence" }).segment(text)]
    : text.split(/(?<=[.!?…。！？])\s+/).map((segment) => ({ segment }));
  return parts.map(({ segment }) => segment.trim()).filter(Boolean);
}
function shortened(sentence) {
  const parts = [];
  let rest = sentence;
  while (rest.length > LONGEST) {
    const head = rest.slice(0, LONGEST);
    const marks = [...head.matchAll(/[,;:、，；)]\s?|\s[–—-]\s/g)].at(-1)?.index ?? 0;
    const cut = marks > 60 ? marks + 1 : head.lastIndexOf(" ") + 1 || LONGEST;
    parts.push(rest.slice(0, cut).trim());
    rest = rest.slice(cut).trim();
  }
  return [...parts, rest].filter(Boolean);
}

// The language of a text: by its script, else by its commonest words. Empty where neither tells.
const SCRIPTS = [
  ["ja", /[\u3040-\u30FF]/], ["ko", /\p{Script=Hangul}/u], ["zh", /\p{Script=Han}/u],
  ["uk", /[іїєґ]/i], ["ru", /\p{Script=Cyrillic}/u], ["el", /\p{Script=Greek}{3}/u],
  ["he", /\p{Script=Hebrew}/u], ["ar", /\p{Script=Arabic}/u], ["hi", /\p{Script=Devanagari}/u],
  ["th", /\p{Script=Thai}/u],
];
const COMMON = {
  en: "the and is of to in that you it for are with this be can not",
  de: "der die und ist das nicht ein eine zu mit den von sie auf ich es dem für",
  fr: "le la les et est des une dans que pour vous pas du il sur avec ce",
  es: "el la los y es de que en una por para con no las un del se",
  it: "il di che è e la un per non sono una con del della i si",
  pt: "o de que e não uma para com os em é você um do da as",
  nl: "de het een en van is dat niet op te zijn voor met je",
  pl: "i w nie na się jest to z że do jak o dla są",
  sv: "och att det är som en på för inte av med den ett",
  cs: "a se na je že v to s pro jako jsou není nebo",
  tr: "ve bir bu için de ile da olarak çok daha",
};
export function languageOf(text) {
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  for (const [lang, script] of SCRIPTS) {
    const found = text.match(new RegExp(script.source, `${script.flags}g`))?.length ?? 0;
    if (found && found * 5 >= letters) return lang;
    if (found && ["ja", "uk"].includes(lang) && found * 20 >= letters) return lang;
  }
  const words = text.toLowerCase().match(/\p{L}+/gu)?.slice(0, 400) ?? [];
  const scored = Object.entries(COMMON).map(([lang, common]) => {
    const known = new Set(common.split(" "));
    return [words.filter((word) => known.has(word)).length, lang];
  });
  const [score, lang] = scored.reduce((best, one) => (one[0] > best[0] ? one : best));
  return score > Math.min(1, words.length / 12) ? lang : "";
}
