# Fills the caches of the image of the suite, while that is built: pgflow's core, and what the
# TypeScript worker imports. A run then fetches nothing.
set -eu
packages=/packages
if [ -d "$packages/deno" ]; then
    cp -r "$packages/deno" "$DENO_DIR"
fi
(cd conformance/workers/typescript && deno install --quiet --frozen --entrypoint main.ts)
if [ -d "$packages/core" ]; then
    version=$(python -c 'from pgflow_ref.install import pins; print(pins.load().core.version)')
    mkdir -p "$XDG_CACHE_HOME/pgflow-ref"
    cp -r "$packages/core" "$XDG_CACHE_HOME/pgflow-ref/pgflow-core-$version"
fi
python - <<'PYTHON'
from pgflow_ref.install import pins, sources

sources.core_files(tuple(pins.load().core.files), say=print)
PYTHON
