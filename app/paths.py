"""Paths of files that are not code: beside `app/` in a checkout, inside it when installed."""

from pathlib import Path


def asset_dir(name: str) -> Path:
    """Return the folder `templates`, `static` or `migrations`."""
    package = Path(__file__).parent
    beside = package.parent / name
    return beside if (package.parent / "pyproject.toml").exists() else package / name
