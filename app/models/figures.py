"""Numbers of weights and bytes, as people write them."""

from __future__ import annotations


def format_parameters(number: int) -> str:
    """A number of weights as people write it: 135 M, 7.2 B."""
    if number >= 1_000_000_000:
        return f"{number / 1e9:.1f} B"
    return f"{number / 1e6:.0f} M" if number >= 1_000_000 else f"{number:,}"


def format_bytes(number: int) -> str:
    """Bytes as people write them: 98 MB, 4.1 GB."""
    if number >= 10_000_000_000:
        return f"{number / 1e9:.0f} GB"
    return f"{number / 1e9:.1f} GB" if number >= 1_000_000_000 else f"{number / 1e6:,.0f} MB"
