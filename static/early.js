// How pages look is known before the first paint. And the notice's cross, and the end of a login.

// Whether menus, the sidebar and the list of models can be popovers; the modules read it.
const HAS_POPOVERS = CSS.supports("selector(:popover-open)");
// Days and hours are the reader's: the server hears their time zone, and is asked again before anything
// is painted if it went by another clock.
const minutes = -new Date().getTimezoneOffset();
const zone = `${Intl.DateTimeFormat().resolvedOptions().timeZone ?? ""}.${minutes}`;
document.cookie = `zone=${zone}; path=/; max-age=31536000; SameSite=Lax`;
const shownFor = document.querySelector("meta[name=utc-offset]").content;
if (shownFor !== String(minutes) && document.cookie.includes(zone) && sessionStorage.zone !== zone) {
  sessionStorage.zone = zone;
  location.reload();
}
function paint() {
  const [page, beside] = [":root", "#beside"].map((one) => document.querySelector(one));
  const { theme = "system", list = "" } = localStorage; // the list is put away beside a chat
  Object.assign(page.dataset, { theme, list });
  for (const one of ["text", "column", "figures", "sends"]) page.dataset[one] = localStorage[one] ?? "";
  document.querySelector("meta[name=theme-color]").content = getComputedStyle(page).backgroundColor;
  if (beside) beside.ariaExpanded = list !== "closed";
}
paint();
// The list of chats stands where it stood on the page before, from the first paint on.
new MutationObserver((_, observer) => {
  const chats = document.querySelector("#chats:has(+ *)");
  if (chats && sessionStorage.listTop > 0) chats.scrollTop = sessionStorage.listTop; // asks for the layout
  if (chats || document.readyState !== "loading") observer.disconnect();
}).observe(document, { childList: true, subtree: true });
addEventListener("DOMContentLoaded", () => {
  paint();
  const kept = "loggedOut" in document.body.dataset ? Object.keys(localStorage) : [];
  for (const key of kept) if (key.startsWith("drafts")) delete localStorage[key];
});
addEventListener("storage", paint); // another tab has changed it
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
addEventListener("click", ({ target }) => {
  target.closest("[data-notice]")?.parentElement.replaceChildren();
  if (target.closest("#beside")) localStorage.list = localStorage.list === "closed" ? "" : "closed";
  paint();
});
// What is on the page is for nobody's eyes any more, or not for this person's: it is loaded anew.
let isLeaving = false; // by a form, whose answer is what comes
addEventListener("submit", ({ target, defaultPrevented }) => {
  isLeaving ||= target.method === "post" && !defaultPrevented;
});
const alive = new URL("../login/alive", document.currentScript.src);
addEventListener("htmx:ws:close", async ({ detail: { code } }) => {
  const hasLogin = document.body.hasAttribute("hx-headers:inherited");
  const answer = hasLogin && await fetch(alive).catch(() => null);
  if (!isLeaving && (code === 4001 || answer?.status === 401)) location.reload();
});
// A page that Back takes out of the browser's cache is as old as its end: its socket was closed for good, and
// browsers have emptied its search. It is loaded anew; what was typed is a draft by then.
addEventListener("pageshow", ({ persisted }) => {
  if (persisted && document.querySelector("[hx-ws\\:connect]")) location.reload();
});
