"""What the worker does about what surprises it."""

from __future__ import annotations

import pytest

from pgflow_ref import profiles
from pgflow_ref.remedies import REMEDIES, defects


def test_there_is_a_remedy_for_each_defect_of_any_core_and_for_nothing_else() -> None:
    surprising = {
        name
        for core in profiles.known()
        for name, entry in profiles.load(core).entries.items()
        if entry.surprising and entry.concerns == "workers"
    }
    assert set(REMEDIES) == surprising


@pytest.mark.parametrize("core", profiles.known())
def test_defects_of_a_core_are_in_order_and_complete(core: str) -> None:
    found = defects(profiles.load(core))
    names = [defect.name for defect in found]
    assert names == sorted(names)
    entries = profiles.load(core).entries
    assert {"started_task_is_never_requeued", "claim_shows_message_again"} <= set(names)
    for defect in found:
        entry = profiles.load(core).entries[defect.name]  # type: ignore[index]
        assert (defect.says, defect.means) == (entry.says, entry.means)
        assert defect.remedy.endswith(".")
    assert not [name for name in names if not entries[name].surprising]  # type: ignore[index]
