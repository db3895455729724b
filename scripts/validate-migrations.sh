#!/usr/bin/env bash
# Every migration under the strict rules, as the CI job validate-migrations does it. Exit 0 or 1.
# Options are handed on: scripts/validate-migrations.sh --format github
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m gatebook lint-migration --strict "$@" alembic/versions
