// Passkeys: the form asks the server what to sign, has the device sign it, and sends what it answers. On the
// login page the browser also offers them in the field of the name.

const form = document.getElementById("passkey-login") ?? document.getElementById("passkey-add");
const isLogin = form.id === "passkey-login";
const problem = form.querySelector("[role=alert]");
const button = form.querySelector("[type=submit]");
let pending;

function decode(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}
function encode(buffer) {
  const plain = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
async function ask(mediation) {
  pending?.abort(); // a browser lets one request wait at a time
  const { signal } = pending = new AbortController();
  const body = new URLSearchParams(new FormData(form));
  const reply = await fetch(form.dataset.address, { method: "POST", body, signal });
  if (!reply.ok) throw new Error(await sentence(reply));
  const options = await reply.json();
  options.challenge = decode(options.challenge);
  if (isLogin) return navigator.credentials.get({ publicKey: options, mediation, signal });
  options.user.id = decode(options.user.id);
  for (const known of options.excludeCredentials) known.id = decode(known.id);
  return navigator.credentials.create({ publicKey: options, signal });
}
async function sentence(reply) {
  const isPlain = reply.headers.get("Content-Type")?.startsWith("text/plain");
  return isPlain ? reply.text() : "This page is out of date. Reload it and try again.";
}
function send({ id, rawId, type, response }) {
  const parts = ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"];
  const given = parts.filter((part) => response[part]).map((part) => [part, encode(response[part])]);
  form.elements.response.value = JSON.stringify(
    { id, rawId: encode(rawId), type, response: Object.fromEntries(given), clientExtensionResults: {} });
  form.submit();
}
function explain({ name, message }) {
  if (name === "NotAllowedError") return isLogin ? "No passkey was used." : "No passkey was added.";
  if (name === "InvalidStateError") return "This device has a passkey for your account already.";
  return message;
}
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.hidden = button.disabled = true;
  try {
    send(await ask());
  } catch (error) {
    problem.textContent = explain(error);
    problem.hidden = button.disabled = false;
  }
});
if (!globalThis.PublicKeyCredential) {
  problem.textContent = "This browser has no passkeys.";
  problem.hidden = isLogin;
  button.disabled = true;
} else if (isLogin) {
  form.hidden = false;
  const isOffered = await PublicKeyCredential.isConditionalMediationAvailable?.();
  if (isOffered) ask("conditional").then(send, () => {}); // nothing was chosen
}
