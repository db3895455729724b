#!/usr/bin/env bash
# Is one migration safe to roll out? Usage: scripts/validate-migration.sh MIGRATION_FILE. Exit 0 or 1.
set -uo pipefail
if [[ -z ${1:-} ]]; then
    echo "ERROR: No migration file provided"
    echo "Usage: $0 <migration_file>"
    exit 1
fi
if [[ ! -e $1 && ! -L $1 ]]; then
    echo "ERROR: Migration file not found: $1"
    exit 1
fi
python=${PYTHON:-$(dirname "$0")/../.venv/bin/python}
[[ -x $(command -v "$python") ]] || python=python3
"$python" -m gatebook lint-migration "$1" || exit 1
