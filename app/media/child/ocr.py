"""Text in pictures in the child: RapidOCR's models through onnxruntime."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image
from rapidocr import RapidOCR

from app.errors import MediaError
from app.media.protocol import MediaCommand, MediaResult, Recognize, Recognized

ASPECT: Final = 4 / 3
"""A wider or higher picture is padded: detection scales up a side that is shorter than DETECTED,
which would make the other huge."""
DETECTED: Final = 736
SAME_ROW: Final = 0.5
"""Share of its height by which a box overlaps the row that it belongs to."""
PARAGRAPH_GAP: Final = 1.2
"""Empty space between two rows, in heights of a row, that makes an empty line."""
PARAMETERS: Final = {
    "Global.log_level": "critical",
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}


@dataclass(frozen=True, slots=True)
class TextBox:
    """Line of text. left, right, top, bottom: pixels."""

    left: float
    right: float
    top: float
    bottom: float
    text: str


class OcrEngine:
    """Detection and recognition of text. It computes with one thread."""

    def __init__(self) -> None:
        cv2.setNumThreads(1)
        self.check: Callable[[], None] = lambda: None
        self._ocr = RapidOCR(params=PARAMETERS)
        for part in (self._ocr._load_det_model(), self._ocr._load_rec_model()):
            part.session = _Session(part.session, self)

    def work(
        self, command: MediaCommand, payload: bytes, check: Callable[[], None] = lambda: None
    ) -> MediaResult:
        """Read a picture that Wick itself has encoded."""
        if not isinstance(command, Recognize):
            raise MediaError("This child only reads.")
        with Image.open(io.BytesIO(payload), formats=("PNG", "JPEG")) as image:
            pixels = _padded(np.asarray(image.convert("RGB")))
        self.check = check
        # Without the classifier of directions: it turns good lines upside down.
        found = self._ocr(pixels[:, :, ::-1], use_cls=False)
        if found.boxes is None or found.txts is None:
            return Recognized(command.id)
        boxes = [_box(corners, text) for corners, text in zip(found.boxes, found.txts, strict=True)]
        text = in_lines(boxes)
        return Recognized(command.id, text if len(text) > 1 else "")  # a ring is no 0


class _Session:
    """Session of onnxruntime that looks first whether anybody still waits."""

    def __init__(self, session: Any, engine: OcrEngine) -> None:
        self._session = session
        self._engine = engine

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        self._engine.check()
        return self._session(*inputs, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def _padded(pixels: Any) -> Any:
    """Add white at the right or the bottom, up to a shape of ASPECT where that is small."""
    height, width = pixels.shape[:2]
    target = (
        max(height, min(round(width / ASPECT), DETECTED)),
        max(width, min(round(height / ASPECT), DETECTED)),
    )
    padded = np.full((*target, 3), 255, np.uint8)
    padded[:height, :width] = pixels
    return padded


def _box(corners: Any, text: str) -> TextBox:
    xs, ys = corners[:, 0], corners[:, 1]
    return TextBox(float(xs.min()), float(xs.max()), float(ys.min()), float(ys.max()), text)


def in_lines(boxes: Sequence[TextBox]) -> str:
    """Join boxes as people read them: rows from the top, in each from the left."""
    rows = list[list[TextBox]]()
    for box in sorted(boxes, key=lambda box: box.top + box.bottom):
        if rows and _is_in_row(box, rows[-1][-1]):
            rows[-1].append(box)
        else:
            rows.append([box])
    lines, bottom = list[str](), 0.0
    for row in rows:
        top, height = min(box.top for box in row), max(box.bottom - box.top for box in row)
        if lines and top - bottom > PARAGRAPH_GAP * height:
            lines.append("")
        lines.append(" ".join(box.text for box in sorted(row, key=lambda box: box.left)))
        bottom = max(box.bottom for box in row)
    return "\n".join(lines)


def _is_in_row(box: TextBox, last: TextBox) -> bool:
    overlap = min(box.bottom, last.bottom) - max(box.top, last.top)
    return overlap > SAME_ROW * min(box.bottom - box.top, last.bottom - last.top)
