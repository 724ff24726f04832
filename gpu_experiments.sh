#!/usr/bin/env bash
# gpu_experiment.sh under the other spelling.
exec bash "$(dirname "${BASH_SOURCE[0]}")/gpu_experiment.sh" "$@"
