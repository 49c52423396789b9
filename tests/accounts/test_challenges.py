"""Challenges: for one purpose, for some minutes, once."""

from __future__ import annotations

import pytest

from app.accounts.challenges import CHALLENGE_SECONDS, Challenges
from tests.accounts.conftest import Clock


def test_a_challenge_is_found_by_its_token_for_its_purpose() -> None:
    challenges = Challenges(Clock())
    challenge, token = challenges.issue("login")
    assert challenges.find(token, "login") == challenge
    assert challenges.find(token, "register 1 2") is None
    assert Challenges(Clock()).find(token, "login") is None  # of another process
    assert challenges.issue("login")[0] != challenge


@pytest.mark.parametrize(
    "token", ["", ".", "..", "1.2.3", "9" * 5000 + "..", "1.%%%.é", "1.\udc80.\udc80", "1.Ǵ.x"]
)
def test_what_is_no_token_finds_nothing(token: str) -> None:
    assert Challenges().find(token, "login") is None


def test_a_changed_token_finds_nothing() -> None:
    challenges = Challenges(Clock())
    _, token = challenges.issue("login")
    expires, rest = token.split(".", 1)
    assert challenges.find(f"{int(expires) + 1}.{rest}", "login") is None
    assert challenges.find(f"{token[:-1]}{'0' if token[-1] != '0' else '1'}", "login") is None


def test_a_challenge_expires_and_is_used_once() -> None:
    clock = Clock()
    challenges = Challenges(clock)
    challenge, token = challenges.issue("login")
    assert challenges.use(challenge)
    assert not challenges.use(challenge)
    assert challenges.find(token, "login") is None
    _, other = challenges.issue("login")
    clock.now += CHALLENGE_SECONDS
    assert challenges.find(other, "login") is None
    challenges.use(challenges.issue("login")[0])
    assert len(challenges._used) == 1  # the first is forgotten, since its token has expired
