"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# On a busy machine a time says nothing. The same examples every time: a test that fails fails for
# everybody. To look for others: --hypothesis-profile default.
settings.register_profile(
    "wick", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("wick")
