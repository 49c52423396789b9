"""The queue of one model is shared out by user before anybody is refused."""

from __future__ import annotations

import itertools

from app.inference.protocol import Generate
from app.inference.queue import FairQueue, Request
from app.models.model import Turn

_NUMBERS = itertools.count()


def request(user: int, *, is_background: bool = False) -> Request:
    command = Generate(id=next(_NUMBERS), turns=(Turn("user", "hello"),))
    return Request(command, user, lambda _: None, is_background=is_background)


def put(line: FairQueue, user: int, count: int) -> int:
    """How many of `count` requests are let in."""
    taken = 0
    for _ in range(count):
        if line.has_room(user):
            line.add(request(user))
            taken += 1
    return taken


def test_two_users_who_fill_the_queue_keep_no_other_out() -> None:
    line = FairQueue(32)
    assert put(line, 1, 24) == 24
    assert put(line, 2, 24) == 16  # the rest of the room, and then half of it
    assert put(line, 3, 24) == 10
    assert not line.has_room(1)


def test_a_user_alone_has_the_whole_queue_and_no_more() -> None:
    assert put(FairQueue(32), 1, 40) == 32


def test_every_user_has_a_place_however_many_there_are() -> None:
    line = FairQueue(4)
    assert put(line, 0, 9) == 4
    assert [put(line, user, 9) for user in range(1, 20)] == [2, *[1] * 18]


def test_the_shares_of_users_are_bounded_in_all() -> None:
    line = FairQueue(8)
    for user in range(4):
        put(line, user, 99)
    assert len(line) <= 2 * 8


def test_the_background_drops_a_request_of_the_user_with_the_most() -> None:
    line = FairQueue(3)
    kept = request(2, is_background=True)
    line.add(kept)
    for _ in range(5):
        line.add(request(1, is_background=True))
    assert kept in line.clear()
