"""pgflow's core as an executable model: what its SQL does, as pure Python.

`apply(state, call, profile)` says what a call gives back, which events it sends, and what the
database holds afterwards; a call that the database would refuse is refused with the same SQLSTATE
and constraint. The profile says which version of the core it is. The suite issues the same calls to
the model and to real databases and compares everything (`conformance/core/`), so what is written
here is not an opinion.

To read it: `rows.py` (what there is), `calls.py` (what can be asked), `state.py` (a transaction),
then `definitions.py`, `runs.py`, `claims.py`, `completions.py`, `failures.py` and `queue.py`, which
hold the rules.

Example:
    >>> from pgflow_ref.model import State, apply, calls
    >>> from pgflow_ref.profiles import load
    >>> core = load("0.5.0").profile
    >>> state = State()
    >>> for call in (
    ...     calls.CreateFlow("greet"),
    ...     calls.AddStep("greet", "hello"),
    ...     calls.StartFlow("greet", '{"name": "Ada"}'),
    ... ):
    ...     state, rows, events, refusal, seen = apply(state, call, core)
    >>> rows[0].status, [event.event for event in events]
    ('started', ['run:started'])
    >>> apply(state, calls.StartFlow("nobody", "{}"), core).refusal
    Refusal(sqlstate='23503', constraint='runs_flow_slug_fkey')
"""

from pgflow_ref.model.apply import Reply, apply
from pgflow_ref.model.profile import BEHAVIOURS, Behaviour, Profile
from pgflow_ref.model.state import Refusal, State

__all__ = ["BEHAVIOURS", "Behaviour", "Profile", "Refusal", "Reply", "State", "apply"]
