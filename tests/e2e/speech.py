"""A scripted `speechSynthesis`: headless Chromium has no voices. It notes what was spoken."""

from __future__ import annotations

import re
from typing import Any

from tests.e2e.person import ChatPage

SCRIPTED_VOICES = """
(() => {
  const voice = (name, lang, localService, isDefault = false) =>
    ({name, lang, localService, default: isDefault, voiceURI: name.toLowerCase()});
  window.voices = [
    voice('Amy', 'en-US', true, true), voice('Anna', 'de-DE', true), voice('Cloud', 'fr-FR', false),
  ];
  window.spoken = [];
  window.isHeld = false;
  let current = null;
  const end = (type, error) => {
    const utterance = current;
    current = null;
    utterance?.dispatchEvent(Object.assign(new Event(type), {error}));
  };
  window.finishSentence = () => end('end');
  const synthesis = Object.assign(new EventTarget(), {
    getVoices: () => window.voices,
    speak(utterance) {
      if (!utterance.text) return;
      window.spoken.push(
        {text: utterance.text, voice: utterance.voice?.name, rate: utterance.rate});
      current = utterance;
      if (!window.isHeld) setTimeout(() => { if (current === utterance) end('end'); });
    },
    cancel() { end('error', 'canceled'); },
    resume() {},
  });
  Object.defineProperty(window, 'speechSynthesis', {value: synthesis, configurable: true});
  window.SpeechSynthesisUtterance = class extends EventTarget {
    constructor(text) { super(); this.text = text; }
  };
  Object.defineProperty(synthesis, 'speaking', {get: () => current !== null});
})();
"""


async def spoken(chat: ChatPage) -> list[str]:
    """Return all sentences that were spoken on this page, or have begun."""
    found: list[dict[str, Any]] = await chat.page.evaluate("window.spoken")
    return [one["text"] for one in found]


def letters_of(text: str) -> str:
    """Return the text without its marks, which may have been Markdown when it was spoken."""
    return re.sub(r"[\W_]+", "", text)
