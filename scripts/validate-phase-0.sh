#!/usr/bin/env bash
# Phase 0: Ownership and layout. Exit 0 green, 1 red, 2 could not tell.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m gatebook validate-phase 0 "$@"
