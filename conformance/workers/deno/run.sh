#!/bin/sh
# run.sh <deno> <word>: starts the adapter with no more permissions than it needs.
set -eu
deno=$1 word=$2
main=$(dirname "$0")/../typescript/main.ts
export DENO_NO_UPDATE_CHECK=1 NO_COLOR=1

if [ -n "${PGFLOW_EDGE_WORKER:-}" ]; then
    # Somebody else's worker: it may download its modules, which no lock file of ours can know,
    # and reads all of the environment.
    exec "$deno" run --quiet --no-prompt --no-lock \
        --allow-env --allow-net --allow-read --allow-sys "$main" "$word"
fi
# The server that it is told of, and no other.
host=${PGFLOW_DATABASE_URL:-@127.0.0.1}
host=${host#*@}
host=${host%%[/?]*}
# PG* holds PGFLOW_* and the variables of libpq that postgres.js looks at.
exec "$deno" run --quiet --no-prompt --frozen --cached-only \
    --allow-env='PG*' --allow-net="$host" --allow-read="${PGFLOW_FIXTURE:-/nonexistent}" \
    "$main" "$word"
