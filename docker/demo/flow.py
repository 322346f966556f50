"""The flow of the compose file in Python; `flow.json` is the same for the TypeScript worker."""

import time

from pgflow_ref import Flow

side_by_side = Flow("side_by_side")


@side_by_side.step()
def measure(reading, ctx):
    """What was read, as it is."""
    time.sleep(0.02)
    return reading["value"]


@side_by_side.step(depends_on=[measure])
def total(deps, ctx):
    """The sum of all that was measured."""
    time.sleep(0.02)
    return sum([0, deps["measure"]])
