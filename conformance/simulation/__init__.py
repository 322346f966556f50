"""Many workers on the model of the core: any interleaving, from one integer.

`simulate(seed, profile)` plays one schedule. Workers, each with the machine of
`pgflow_ref/machine/`, share one database, the model of `pgflow_ref/model`. Calls take their time,
are lost, lose their replies, or arrive twice; handlers return, fail, or never end; workers are
asked to stop, stand still, or vanish at any moment and for ever; the database goes away and comes
back, and its clock jumps. The same seed plays the same schedule.

What has changed in the database is turned into the events of the suite's log and judged by the
suite's invariants, and what every worker was told is compared with it (`verdict.py`).

To read it: `schedule.py` (what is drawn), `world.py` (what happens when), `worker.py` (who works),
`operations.py` and `database.py` (what is asked of the model), `log.py` (what changed).

    ./scripts/simulate --seeds 10000 --core 0.8.1
"""

from conformance.simulation.play import Broken, Played, Step, simulate

__all__ = ["Broken", "Played", "Step", "simulate"]
