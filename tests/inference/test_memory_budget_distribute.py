"""What loaded models leave of the budget is shared out, and never more than that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.config import Settings
from app.inference.memory_budget import MEGABYTE, LoadedModel, distribute

SETTINGS = Settings(kv_memory_mb=2048, kv_ram_mb=1024)
LODGERS = st.builds(LoadedModel, context=st.integers(1, 600 * MEGABYTE), slots=st.integers(1, 8))


@given(
    free=st.integers(-MEGABYTE, 20_000 * MEGABYTE),
    lodgers=st.dictionaries(st.sampled_from("abcde"), LODGERS),
)
def test_spare_memory_is_no_more_than_is_free_or_set(
    free: int, lodgers: dict[str, LoadedModel]
) -> None:
    bounds = distribute(free, lodgers, SETTINGS)
    assert bounds.keys() == lodgers.keys()
    assert sum(lodgers[name].size(bound) for name, bound in bounds.items()) <= max(0, free)
    for name, bound in bounds.items():
        lodger = lodgers[name]
        assert bound.contexts >= lodger.slots
        most = SETTINGS.kv_memory_mb * MEGABYTE // lodger.context
        assert bound.contexts <= max(lodger.slots, min(most, 56))
        assert 0 <= bound.ram_mb <= SETTINGS.kv_ram_mb


def test_with_plenty_of_memory_every_model_gets_what_is_set() -> None:
    lodgers = {"small": LoadedModel(100 * MEGABYTE, 4), "large": LoadedModel(512 * MEGABYTE, 2)}
    bounds = distribute(1 << 40, lodgers, SETTINGS)
    assert (bounds["small"].contexts, bounds["small"].ram_mb) == (20, 1024)
    assert (bounds["large"].contexts, bounds["large"].ram_mb) == (4, 1024)


def test_with_little_memory_all_models_get_the_same() -> None:
    lodgers = {"a": LoadedModel(100 * MEGABYTE, 4), "b": LoadedModel(100 * MEGABYTE, 4)}
    bounds = distribute(600 * MEGABYTE, lodgers, SETTINGS)
    assert bounds["a"] == bounds["b"]
    assert (bounds["a"].contexts, bounds["a"].ram_mb) == (5, 133)
    assert set(distribute(0, lodgers, SETTINGS).values()) == {type(bounds["a"])(4, 0)}
