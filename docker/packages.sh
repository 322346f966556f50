#!/usr/bin/env bash
# Puts all that the images are made of, beside Debian's packages, into docker/packages/, so that a
# build fetches nothing of it: for machines on which a build cannot reach what this machine can.
# A build with `--build-arg PIP_NO_INDEX=1` then takes Python's packages from there alone.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment
environment dev
packages=$PWD/docker/packages
# What it puts there, and nothing else: files of one's own may lie there as well.
rm -rf "$packages"/*.whl "$packages/core" "$packages/deno"

echo "Python's packages"
# In a variable first: bash goes on where what is put into a command fails.
needed=$(.venv/bin/python - <<'PYTHON'
import tomli
given = tomli.load(open("pyproject.toml", "rb"))["project"]
extras = given["optional-dependencies"]
wanted = [*given["dependencies"]]
for extra in "cli", "embedded", "conformance", "docker":
    wanted += [one.replace(" ", "") for one in extras[extra] if not one.startswith("pgflow-ref")]
print(" ".join(wanted))
PYTHON
)
# For the Python of Debian 12, whatever Python this is.
# shellcheck disable=SC2086  # many words
.venv/bin/python -m pip download --quiet --disable-pip-version-check --progress-bar off \
    --python-version 3.11 --only-binary :all: --dest "$packages" 'hatchling>=1.25,<2' editables $needed
# All known versions of pgmq, which are versions of one package.
wheels=$(.venv/bin/python - <<'PYTHON'
from pgflow_ref.install import pins
for queue in pins.load().queues.values():
    print(f"{queue.package.name}=={queue.package.version}")
PYTHON
)
for wheel in $wheels; do
    .venv/bin/python -m pip download --quiet --disable-pip-version-check --progress-bar off \
        --no-deps --only-binary :all: --dest "$packages" "$wheel"
done
echo "pgflow's core"
.venv/bin/python - "$packages/core" <<'PYTHON'
import pathlib, sys
from pgflow_ref.install import pins, sources
folder = pathlib.Path(sys.argv[1])
folder.mkdir()
for file in sources.core_files(tuple(pins.load().core.files)):
    (folder / file.name).write_text(file.text, encoding="utf-8")
PYTHON
echo "what the TypeScript worker imports"
(cd conformance/workers/typescript &&
    DENO_DIR=$packages/deno ../../../.venv/bin/deno install --quiet --frozen --entrypoint main.ts)
du -sh "$packages"
