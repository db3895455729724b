#!/usr/bin/env bash
# Phase 3: The live catalog against the contract. Exit 0 green, 1 red, 2 could not tell. Options are handed on: --database DATABASE_URL.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m gatebook validate-phase 3 "$@"
