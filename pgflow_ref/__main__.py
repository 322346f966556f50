"""`python -m pgflow_ref` is `pgflow-ref`."""

from pgflow_ref.cli import main

main()
