"""Tickets: used once, not for ever, and nobody's making takes away those of others."""

from __future__ import annotations

from app.accounts.tickets import MAX_PER_USER, TICKET_SECONDS, Tickets
from tests.accounts.conftest import Clock


def test_a_ticket_is_used_once_and_expires() -> None:
    clock = Clock()
    tickets = Tickets[str](clock=clock)
    token = tickets.issue(1, "a")
    assert tickets.find(token) == "a"
    assert tickets.find("") is None
    assert tickets.use(token) == "a"
    assert tickets.use(token) is None
    token = tickets.issue(1, "b")
    clock.now += TICKET_SECONDS
    assert tickets.find(token) is None
    assert len(tickets) == 0


def test_a_user_who_makes_many_loses_their_oldest() -> None:
    tickets = Tickets[int]()
    other = tickets.issue(2, 0)
    tokens = [tickets.issue(1, number) for number in range(MAX_PER_USER + 3)]
    assert [tickets.find(token) for token in tokens[:3]] == [None] * 3
    assert [tickets.find(token) for token in tokens[3:]] == list(range(3, MAX_PER_USER + 3))
    assert tickets.find(other) == 0
    assert len(tickets) == MAX_PER_USER + 1
