"""Where the files that are not code lie: in a checkout beside `app/`, when installed inside it."""

from pathlib import Path


def asset_dir(name: str) -> Path:
    """The folder `templates`, `static` or `migrations`."""
    package = Path(__file__).parent
    beside = package.parent / name
    return beside if (package.parent / "pyproject.toml").exists() else package / name
