"""Messages between the server and a media child: one JSON object a line, in both directions.

A command may be followed by bytes (samples of sound, a picture): its field `size` says how many.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

MediaKind = Literal["voice", "ocr"]
SAMPLE_RATE: Final = 16_000
"""Samples a second of all sound that is exchanged: 16 bits each, one channel."""
SAMPLE_BYTES: Final = 2
MAX_WINDOW_SECONDS: Final = 30
"""What Whisper can hear at once."""
UTTERANCE_SECONDS: Final = 5
"""Of a usual sentence or two, by which voice models are measured."""
MAX_WINDOW_BYTES: Final = MAX_WINDOW_SECONDS * SAMPLE_RATE * SAMPLE_BYTES
MAX_PAYLOAD_BYTES: Final = 40 << 20
"""Of any command: a picture."""


class Transcribe(msgspec.Struct, tag=True, frozen=True):
    """Write down what is said in `size` bytes of sound, up to a pause where they are too long.

    language: such as `en`, None to find it out; translates: write it in English; prompt: what was
    said before, for spelling; is_last: whether no more sound follows these bytes; words: whether
    their times are wanted, which takes a little longer.
    """

    id: int
    size: int
    language: str | None = None
    translates: bool = False
    prompt: str = ""
    is_last: bool = True
    words: bool = False


class Recognize(msgspec.Struct, tag=True, frozen=True):
    """Read the text in a picture, `size` bytes of PNG or JPEG that Wick has encoded."""

    id: int
    size: int


class Measure(msgspec.Struct, tag=True, frozen=True):
    """Do the work of an utterance of UTTERANCE_SECONDS, to see how long that takes here."""

    id: int
    size: int = 0


MediaCommand = Transcribe | Recognize | Measure


class CancelWork(msgspec.Struct, tag=True, frozen=True):
    """End the command of this id at its next step, as failed: nobody waits for it any more."""

    id: int
    size: int = 0


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The child can work."""

    seconds: float = 0.0


class NotReady(msgspec.Struct, tag=True, frozen=True):
    """The child cannot load what it needs, and ends."""

    message: str


class SpokenWord(msgspec.Struct, frozen=True):
    """A word that is said, and when."""

    start: float
    end: float
    word: str


class Segment(msgspec.Struct, frozen=True):
    """Something that is said. start, end: seconds from the beginning of the bytes; no_speech: how
    likely it is that nobody speaks; score: mean logarithm of its tokens' probabilities."""

    start: float
    end: float
    text: str
    no_speech: float = 0.0
    score: float = 0.0
    words: tuple[SpokenWord, ...] = ()

    def moved(self, seconds: float) -> Segment:
        """Return the same, later by so many seconds."""
        words = (
            SpokenWord(round(word.start + seconds, 2), round(word.end + seconds, 2), word.word)
            for word in self.words
        )
        return msgspec.structs.replace(
            self,
            start=round(self.start + seconds, 2),
            end=round(self.end + seconds, 2),
            words=tuple(words),
        )


class Transcribed(msgspec.Struct, tag=True, frozen=True):
    """Text of the first `used` bytes; the others are to be sent again, with what follows.

    language: the one that was given or found, empty where nobody speaks.
    """

    id: int
    used: int
    segments: tuple[Segment, ...] = ()
    language: str = ""


class Recognized(msgspec.Struct, tag=True, frozen=True):
    """Text in a picture, line by line; empty where there is none."""

    id: int
    text: str = ""


class Measured(msgspec.Struct, tag=True, frozen=True):
    """Result of Measure."""

    id: int
    seconds: float


class WorkFailed(msgspec.Struct, tag=True, frozen=True):
    """A command could not be carried out; the child lives on."""

    id: int
    message: str


MediaResult = Transcribed | Recognized | Measured | WorkFailed
MediaEvent = Ready | NotReady | Transcribed | Recognized | Measured | WorkFailed

_ENCODER: Final = msgspec.json.Encoder()
_COMMANDS: Final[msgspec.json.Decoder[MediaCommand | CancelWork]] = msgspec.json.Decoder(
    MediaCommand | CancelWork
)
_EVENTS: Final[msgspec.json.Decoder[MediaEvent]] = msgspec.json.Decoder(MediaEvent)


def to_line(message: MediaCommand | CancelWork | MediaEvent) -> bytes:
    """Encode a message as one line."""
    return _ENCODER.encode(message) + b"\n"


def command_from(line: bytes) -> MediaCommand | CancelWork:
    """Decode a command. Raises ValueError."""
    return _COMMANDS.decode(line)


def event_from(line: bytes) -> MediaEvent:
    """Decode an event. Raises ValueError."""
    return _EVENTS.decode(line)
