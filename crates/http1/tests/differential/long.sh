#!/usr/bin/env bash
# Differential fuzzing against hyper: ten million executions, or as many as asked for, on all cores.
#   crates/http1/tests/differential/long.sh [EXECUTIONS [SEED]]
# What differs is printed with the seed that replays it.
set -euo pipefail
cd "$(dirname "$0")/../../../.."

executions=${1:-10000000}
seed=${2:-$(date +%s)}
cores=$(nproc)

export CARGO_INCREMENTAL=0
program=$(cargo test --profile quick --package tiergate-http1 --test differential --no-run 2>&1 | tee /dev/stderr |
  sed -n 's/.*Executable.*(\(.*\))$/\1/p')

# Three tests of the same length: requests, responses, and what a proxy sends on.
each=$(((executions + 3 * cores - 1) / (3 * cores)))
processes=()
for ((core = 0; core < cores; core++)); do
  TIERGATE_SEED=$((seed + core)) TIERGATE_EXECUTIONS=$each "$program" --nocapture --test-threads=1 &
  processes+=($!)
done
status=0
for process in "${processes[@]}"; do
  wait "$process" || status=1
done
[[ $status -eq 0 ]] && echo "$((each * 3 * cores)) executions without a difference that isn't explained"
exit $status
