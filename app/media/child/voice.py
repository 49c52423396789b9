"""Voice to text in the child: Whisper through ctranslate2."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import ctranslate2
import numpy as np
from tokenizers import Tokenizer

from app.errors import MediaError
from app.media.child.pauses import find_cut, find_speech
from app.media.child.spectrogram import FRAMES_PER_SECOND, Samples, log_mel
from app.media.child.word_times import timed_words, token_starts
from app.media.protocol import (
    MAX_WINDOW_SECONDS,
    SAMPLE_BYTES,
    SAMPLE_RATE,
    UTTERANCE_SECONDS,
    Measure,
    Measured,
    MediaCommand,
    MediaResult,
    Segment,
    SpokenWord,
    Transcribe,
    Transcribed,
)

MIN_WINDOW_SECONDS: Final = 10
"""Shorter windows make it repeat itself."""
SPARE_SECONDS: Final = 4
"""Silence after what is said, without which it repeats the end."""
NO_SPEECH: Final = 0.6
NO_SCORE: Final = -0.9
"""Real speech can look like none, or be hardly understood; noise is both."""
MAX_REPETITION: Final = 2.4
"""How well text may compress: one that goes round in circles does so better."""
MAX_NEW_TOKENS: Final = 224
UTTERANCE_TOKENS: Final = 20
MAX_PROMPT_TOKENS: Final = 200
TIME_STEP: Final = 0.02
"""Seconds between two of Whisper's tokens for times."""

Check = Callable[[], None]
Part = tuple[float, float, list[int]]
"""Start and end in seconds, and the tokens of what is said."""


class VoiceEngine:
    """Whisper model in `folder`. It computes with one thread."""

    def __init__(self, folder: Path) -> None:
        self._whisper = ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type="int8", inter_threads=1, intra_threads=1
        )
        self._tokens = _Vocabulary(folder / "tokenizer.json")

    def work(
        self, command: MediaCommand, payload: bytes, check: Check = lambda: None
    ) -> MediaResult:
        """Transcribe one window, or measure. Raises MediaError for a language it does not know."""
        if isinstance(command, Measure):
            return Measured(command.id, self._measure(check))
        if not isinstance(command, Transcribe):
            raise MediaError("This child only hears.")
        samples = np.frombuffer(payload, "<i2").astype(np.float32) / np.float32(32768)
        length = len(samples) if command.is_last else find_cut(samples)
        used = Transcribed(command.id, length * SAMPLE_BYTES)
        start, end = find_speech(samples[:length])
        if start == end:
            return used
        encoded = self._encode(samples[start:end])
        check()
        language = command.language or self._detect(encoded)
        check()
        segments = self._segments(command, encoded, language, (end - start) / SAMPLE_RATE, check)
        moved = tuple(segment.moved(start / SAMPLE_RATE) for segment in segments)
        return Transcribed(command.id, used.used, moved, language if segments else "")

    def _encode(self, samples: Samples) -> Any:
        seconds = _window_seconds(len(samples))
        features = log_mel(samples, seconds, self._whisper.n_mels)
        return self._whisper.encode(ctranslate2.StorageView.from_array(features[None]))

    def _detect(self, encoded: Any) -> str:
        if not self._whisper.is_multilingual:
            return "en"
        found: str = self._whisper.detect_language(encoded)[0][0][0]
        return found.strip("<|>")

    def _segments(
        self, command: Transcribe, encoded: Any, language: str, seconds: float, check: Check
    ) -> list[Segment]:
        prompt = self._tokens.prompt(
            command, language, is_multilingual=self._whisper.is_multilingual
        )
        for attempt in range(2):
            check()
            result = self._generate(encoded, prompt, is_again=attempt > 0)
            ids = result.sequences_ids[0]
            if not _repeats(self._tokens.text(ids)):
                break
        score, no_speech = result.scores[0], result.no_speech_prob
        if no_speech > NO_SPEECH and score < NO_SCORE:
            return []
        parts = self._tokens.sentences(ids, seconds)
        words = (
            self._words(parts, encoded, language, seconds) if command.words else [()] * len(parts)
        )
        return [
            Segment(start, end, text, round(no_speech, 4), round(score, 4), said)
            for (start, end, part), said in zip(parts, words, strict=True)
            if (text := self._tokens.text(part)).strip()
        ]

    def _generate(self, encoded: Any, prompt: list[int], *, is_again: bool) -> Any:
        """Write down what is said; again with more effort, and no words in circles."""
        return self._whisper.generate(
            encoded,
            [prompt],
            beam_size=5 if is_again else 1,
            no_repeat_ngram_size=4 if is_again else 0,
            max_length=len(prompt) + MAX_NEW_TOKENS,
            return_no_speech_prob=True,
            return_scores=True,
        )[0]

    def _words(
        self, parts: list[Part], encoded: Any, language: str, seconds: float
    ) -> list[tuple[SpokenWord, ...]]:
        """Find when each word of each part is said."""
        said = [token for _, _, part in parts for token in part]
        if not said:
            return [()] * len(parts)
        begin = self._tokens.begin(language, is_multilingual=self._whisper.is_multilingual)
        frames = max(1, int(seconds * FRAMES_PER_SECOND))
        found = self._whisper.align(encoded, begin, [said], frames)[0]
        starts, first, words = token_starts(found.alignments, len(said)), 0, []
        for _, _, part in parts:
            last = first + len(part)
            words.append(timed_words(part, starts[first : last + 1], self._tokens.text, language))
            first = last
        return words

    def _measure(self, check: Check) -> float:
        """Seconds of an utterance of UTTERANCE_SECONDS, with as many tokens as one has."""
        noise = np.random.default_rng(0).normal(0, 0.1, UTTERANCE_SECONDS * SAMPLE_RATE)
        began = time.process_time()
        encoded = self._encode(noise.astype(np.float32))
        check()
        prompt = self._tokens.begin("en", is_multilingual=self._whisper.is_multilingual)
        self._whisper.generate(
            encoded,
            [prompt],
            beam_size=1,
            max_length=len(prompt) + UTTERANCE_TOKENS,
            suppress_tokens=[-1, self._tokens.end],  # else it may end at once
        )
        return round(time.process_time() - began, 3)


class _Vocabulary:
    """Tokens of Whisper, with the special ones that command it."""

    def __init__(self, file: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(file))
        self._first_time = self._id("<|notimestamps|>") + 1
        self.end = self._id("<|endoftext|>")

    def _id(self, token: str) -> int:
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise MediaError(f"The voice model doesn't know {token}.")
        return int(number)

    def prompt(self, command: Transcribe, language: str, *, is_multilingual: bool) -> list[int]:
        """Token ids that an answer follows."""
        if not re.fullmatch(r"[a-z]{2,3}", language):
            raise MediaError("Choose a language by its code, such as en or de.")
        ids = []
        if command.prompt:
            before = self._tokenizer.encode(" " + command.prompt.strip(), add_special_tokens=False)
            ids += [self._id("<|startofprev|>"), *before.ids[-MAX_PROMPT_TOKENS:]]
        ids += self.begin(language, is_multilingual=is_multilingual, translates=command.translates)
        return ids  # with times: it makes fewer mistakes when it writes them

    def begin(self, language: str, *, is_multilingual: bool, translates: bool = False) -> list[int]:
        """Token ids that say what is to be done."""
        ids = [self._id("<|startoftranscript|>")]
        if is_multilingual:
            task = "<|translate|>" if translates else "<|transcribe|>"
            ids += [self._language(language), self._id(task)]
        return ids

    def _language(self, language: str) -> int:
        number = self._tokenizer.token_to_id(f"<|{language}|>")
        if number is None:
            raise MediaError(f"The voice model doesn't know the language “{language}”.")
        return int(number)

    def text(self, ids: list[int]) -> str:
        plain = [number for number in ids if number < self._first_time]
        return str(self._tokenizer.decode(plain, skip_special_tokens=True))

    def sentences(self, ids: list[int], seconds: float) -> list[Part]:
        """Split the ids at the tokens for times."""
        found, start, part = list[Part](), 0.0, list[int]()
        for number in ids:
            if number < self._first_time:
                if number < self.end:  # the other special ones are no text
                    part.append(number)
                continue
            at = min(seconds, round((number - self._first_time) * TIME_STEP, 2))
            if part:
                found.append((start, max(start, at), part))
                part = []
            start = at
        if part:
            found.append((start, seconds, part))
        return found


def _window_seconds(samples: int) -> int:
    """Seconds of a window for so many samples: short ones are encoded in less time."""
    wanted = -(-samples // SAMPLE_RATE) + SPARE_SECONDS
    return min(MAX_WINDOW_SECONDS, max(MIN_WINDOW_SECONDS, wanted))


def _repeats(text: str) -> bool:
    data = text.encode()
    return len(data) > 40 and len(data) / len(zlib.compress(data)) > MAX_REPETITION
