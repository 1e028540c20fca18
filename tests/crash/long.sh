#!/usr/bin/env bash
# A thousand kills, or as many as the first argument says, by the seed that the second one says; prints what was lost: nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
TIERGATE_CRASHES=${1:-1000} TIERGATE_SEED=${2:-1} \
  cargo test --test crash a_kill_loses_no_debit -- --nocapture --test-threads 1
