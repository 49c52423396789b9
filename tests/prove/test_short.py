"""Short forms of all that `python -m tests.prove` proves at length; upgrades of every schema are
in `tests/recorded`."""

from __future__ import annotations

import secrets
from pathlib import Path

from tests.prove import disk, hostile, io_errors, kills, roles, soak, tabs, upgrade
from tests.prove.parts import PARTS, Part
from tests.prove.plan import Plan
from tests.prove.report import Report, table

SEED = 5


async def assert_nothing_lost(part: Part, plan: Plan) -> None:
    report = await part(plan)
    assert report.losses == [], f"--seed {plan.seed}"


async def test_nothing_is_lost_when_the_server_or_the_engine_is_killed(tmp_path: Path) -> None:
    await assert_nothing_lost(kills.prove, Plan(tmp_path, SEED, rounds=2))


async def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    await assert_nothing_lost(disk.prove, Plan(tmp_path, SEED, rounds=1))


async def test_reads_and_writes_that_fail_lose_nothing(tmp_path: Path) -> None:
    await assert_nothing_lost(io_errors.prove, Plan(tmp_path, SEED, rounds=3))


async def test_hostile_inputs_break_nothing(tmp_path: Path) -> None:
    """Others in each run: what fails names its seed."""
    plan = Plan(tmp_path, secrets.randbelow(10**6), rounds=120)
    await assert_nothing_lost(hostile.prove, plan)


async def test_routes_are_for_their_roles_over_http(tmp_path: Path) -> None:
    await assert_nothing_lost(roles.prove, Plan(tmp_path, SEED, rounds=10))


async def test_many_tabs_get_whole_answers_in_turn(tmp_path: Path) -> None:
    async def few(plan: Plan) -> Report:
        return await tabs.prove(plan, people=6, tabs_each=4)

    await assert_nothing_lost(few, Plan(tmp_path, SEED, rounds=1))


async def test_a_server_is_used_in_every_way(tmp_path: Path) -> None:
    await assert_nothing_lost(soak.prove, Plan(tmp_path, SEED, minutes=0.05))


async def test_an_upgrade_that_is_killed_is_finished_by_the_next_start(tmp_path: Path) -> None:
    async def one(plan: Plan) -> Report:
        return await upgrade.prove(plan, schemas=1)

    await assert_nothing_lost(one, Plan(tmp_path, SEED, rounds=1))


def test_a_table_has_a_row_for_each_part_and_names_losses() -> None:
    good = Report("kills", scope="2 kills", figures={"answers": 3})
    bad = Report("disk", scope="1 time", losses=["x is gone"], seconds=120.0)
    rows = table([good, bad, Report("io", skipped="no C compiler")]).splitlines()[2:]
    assert rows == [
        "| kills | 2 kills | nothing lost; answers: 3 |",
        "| disk | 1 time, 2 min | **1 lost** |",
        "| io | skipped | no C compiler |",
    ]
    assert len(PARTS) == 8
