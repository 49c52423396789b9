from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from app.backup.schedule import BackupSchedule
from app.config import Settings, asset_dir
from app.conversations.answer_state import LiveAnswer, status_line
from app.conversations.history import first_in_context, to_turns
from app.conversations.titles import title_of
from app.db.chats import Chat
from app.db.messages import Message
from app.inference.model_state import CacheStats, ModelState, WorkerStatus
from app.inference.protocol import Finished
from app.models.model import Turn
from app.web.render.fragments import Fragments
from app.web.render.messages import SPOKEN_CHARS, present
from app.web.render.sidebar import group_by_day
from app.web.render.streaming import StreamedMarkdown

MESSAGE = Message(
    id=1,
    chat_id="c",
    parent_id=None,
    role="assistant",
    text="",
    status="done",
    client_id=None,
    model="tiny",
    error=None,
    finish_reason="stop",
    prompt_tokens=1,
    cached_tokens=0,
    completion_tokens=10,
    prefill_seconds=0.1,
    decode_seconds=0.5,
    first_token_seconds=0.1,
    dropped=0,
    created_at=0.0,
    finished_at=1.0,
)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"status": "stopped"}, "Stopped"),
        ({"status": "failed", "error": "It broke."}, "It broke."),
        ({"status": "interrupted", "error": "It fell."}, "Interrupted: It fell."),
        ({"finish_reason": "length"}, "Ended at the length limit"),
        ({}, ""),
    ],
)
def test_every_ending_has_its_words(changes: dict[str, str], line: str) -> None:
    assert present(replace(MESSAGE, **changes), None).status_text == line  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stream", "line"),
    [
        (LiveAnswer(1, "c", 1, "m"), "Starting"),
        (LiveAnswer(1, "c", 1, "m", position=1), "Waiting: next in line"),
        (LiveAnswer(1, "c", 1, "m", position=3), "Waiting: number 3 in line"),
        (
            LiveAnswer(1, "c", 1, "m", position=2, eta_seconds=4.2),
            "Waiting: number 2 in line, about 4 s",
        ),
        (
            LiveAnswer(1, "c", 1, "m", position=1, eta_seconds=0.0),
            "Waiting: next in line, about 1 s",
        ),
        (
            LiveAnswer(1, "c", 1, "m", position=1, eta_seconds=42),
            "Waiting: next in line, about 40 s",
        ),
        (
            LiveAnswer(1, "c", 1, "m", position=1, eta_seconds=130),
            "Waiting: next in line, about 2 min",
        ),
        (LiveAnswer(1, "c", 1, "m", is_pending=True), "Waiting for the answer above"),
        (LiveAnswer(1, "c", 1, "m", status="loading", detail="Loading"), "Loading"),
        (
            LiveAnswer(1, "c", 1, "m", status="prefill", prompt_done=30, prompt_total=120),
            "Processing prompt: 25 %",
        ),
        (LiveAnswer(1, "c", 1, "m", status="prefill"), "Processing prompt: 0 %"),
        (LiveAnswer(1, "c", 1, "m", status="streaming"), "Writing"),
        (LiveAnswer(1, "c", 1, "m", status="streaming", warning="Not saved."), "Not saved."),
    ],
)
def test_every_live_status_has_its_words(stream: LiveAnswer, line: str) -> None:
    assert status_line(stream) == line
    assert present(MESSAGE, (stream, StreamedMarkdown())).is_live


def test_figures_say_how_fast_it_was() -> None:
    assert present(MESSAGE, None).stats == "10 tokens · 20/s"


def test_chats_are_grouped_as_people_speak() -> None:
    now = dt.datetime(2026, 3, 15, 12).astimezone()
    ages = [0, 0, 1, 4, 40]
    chats = [
        Chat(str(n), 1, f"c{n}", "m", None, 0, (now - dt.timedelta(days=age)).timestamp(), None)
        for n, age in enumerate(ages)
    ]
    groups = group_by_day(chats, now.date())
    assert [(g.heading, len(g.chats)) for g in groups] == [
        ("Today", 2),
        ("Yesterday", 1),
        ("Previous 7 days", 1),
        ("February 2026", 1),
    ]


def said(number: int, role: str, text: str) -> Message:
    return replace(MESSAGE, id=number, role=role, text=text)  # type: ignore[arg-type]


def test_unanswered_questions_are_asked_together() -> None:
    path = [said(1, "user", "a"), said(2, "assistant", ""), said(3, "user", "b")]
    assert to_turns(path) == (Turn("user", "a\n\nb"),)


def test_a_failed_prompt_is_left_out_of_later_turns() -> None:
    path = [
        said(1, "user", "far too long"),
        replace(said(2, "assistant", ""), status="failed", parent_id=1),
        said(3, "user", "short"),
    ]
    assert to_turns(path) == (Turn("user", "short"),)


def test_divider_stands_before_the_first_message_that_is_seen() -> None:
    path = [
        said(1, "user", "a"),
        said(2, "assistant", "b"),
        said(3, "user", "c"),
        said(4, "assistant", ""),
        said(5, "user", "d"),
        said(6, "assistant", "e"),
    ]
    assert first_in_context(path, 0) is None
    assert first_in_context(path, 2) == 3
    assert first_in_context(path, 3) == 6


def test_titles_are_short_and_on_one_line() -> None:
    assert title_of("  hello\n world ") == "hello world"
    assert len(title_of("word " * 50)) <= 60
    assert title_of("x" * 100) == "x" * 59 + "…"


def test_status_figures_say_how_the_cache_did() -> None:
    hits = CacheStats()
    hits.count(Finished(1, "stop", 100, 75, 3, 0.1, 0.1, 0, "disk"))
    worker = WorkerStatus("tiny", ModelState.READY, 7, 4, 1, 2, 9, 512, 41.7, hits)
    fragments = Fragments(asset_dir("templates"), asset_dir("static"))
    html = fragments.render(
        "_figures.html",
        workers=[worker],
        states={"tiny": "ready"},
        memory={"tiny": 5_000_000},
        threads="2 threads",
        gpus=[],
        gpu_problem="",
        is_known=True,
        backups=BackupSchedule(Settings()),
        newest_backup="",
        disks=[],
        keep_free=0,
    )
    for piece in ("1 of 4 slots", "75 %", "42 tokens per second", "5 MB", "512 tokens"):
        assert piece in html


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": "So **it** is."}, "tiny: So it is."),
        ({"text": "See\n\n```python\nx < 1\n```"}, "tiny: See x < 1"),
        ({"status": "stopped"}, "The answer has ended."),
        ({"status": "failed", "error": "The disk is full."}, "The disk is full."),
    ],
)
def test_a_finished_answer_is_announced_by_its_words(changes: dict[str, str], said: str) -> None:
    assert present(replace(MESSAGE, **changes), None).announcement == said  # type: ignore[arg-type]


def test_a_long_answer_is_announced_in_part() -> None:
    said = present(replace(MESSAGE, text="word " * 2000), None).announcement
    assert len(said) <= SPOKEN_CHARS + len("tiny: ")
    assert said.endswith(" …")
