#!/usr/bin/env bash
# Set up, lint, type-check and test. Arguments go to pytest: bash tests/run.sh tests/data -k balanced
#
# A failed check does not keep the tests from running; the exit status tells of both, and pytest has the last line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=$(bash run.sh --python tests/requirements.txt)
PATH=$(dirname "$python"):$PATH
# The tests' networks are small: threads that wait for each other on busy cores would take most of the time.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
status=0

check() {
    printf '== %s\n' "$*"
    "$@" && return
    status=1
    printf '== FAILED: %s\n' "$*"
}

check "$python" -m ruff check .
check "$python" -m ruff format --check .
check "$python" -m mypy
check shellcheck ./*.sh src/data/*.sh tests/run.sh tests/slurm/*.sh .ci/run
[ "$status" = 0 ] || printf '\nThe checks above failed, so this ends with status 1 whatever the tests say.\n\n'

"$python" -m pytest "$@" || status=$?
exit "$status"
