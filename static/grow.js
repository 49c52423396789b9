// Fields are as high as what is written in them, also where style sheets cannot say so.

const FIELDS = "textarea[data-draft]";
function grow(area) {
  area.style.blockSize = "auto";
  area.style.blockSize = `${area.scrollHeight}px`;
}
if (!CSS.supports("field-sizing", "content")) {
  for (const kind of ["input", "focusin"]) { // a field that comes later has the focus
    document.addEventListener(kind, ({ target }) => { if (target.matches?.(FIELDS)) grow(target); });
  }
  addEventListener("resize", () => document.querySelectorAll(FIELDS).forEach(grow));
  document.querySelectorAll(FIELDS).forEach(grow);
}
