// A button whose request gets no answer says so, and takes it back when the server is there again.

const notice = () => document.getElementById("notice");
const sentence = document.getElementById("unreachable");
document.addEventListener("htmx:error", ({ detail: { ctx } }) => {
  if (ctx?.request && !ctx.response) notice().replaceChildren(sentence.content.cloneNode(true));
});
document.addEventListener("htmx:ws:after:connection", () => {
  if (notice().querySelector("[data-unreachable]")) notice().replaceChildren();
});
