#!/bin/sh
# prepare.sh <node>: installs the packages of the lock file, unless they are there already.
set -eu
node=$1
cd "$(dirname "$0")/../typescript"

if ! "$node" --eval 'process.exit(process.features.typescript ? 0 : 1)'; then
    echo "This needs a Node that runs TypeScript, 22.18 or newer; $node is $("$node" --version)." >&2
    exit 1
fi
# Another run of the suite may be at work with these packages: they are not taken away for nothing.
if cmp -s package-lock.json node_modules/.installed; then
    exit 0
fi
npm=$(dirname "$node")/../lib/node_modules/npm/bin/npm-cli.js
if [ -f "$npm" ]; then
    "$node" "$npm" ci --ignore-scripts --no-audit --no-fund
else
    npm ci --ignore-scripts --no-audit --no-fund
fi
cp package-lock.json node_modules/.installed
