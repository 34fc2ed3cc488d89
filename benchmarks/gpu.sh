#!/usr/bin/env bash
# Everything that wants a GPU, in at most eight minutes: the tests on it, then the speed (benchmarks/results/gpu.json).
#
#   benchmarks/gpu.sh            on a machine with a GPU, Python 3.11 or newer, torch, transformers and accelerate; nothing is installed
#   benchmarks/gpu.sh --dry-run  a little of everything on the CPU
#
# WHEELS=folder: wheels of gymnasium, farama-notifications and ale-py that are not there; they are unpacked beside, not installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON="${PYTHON:-python3}"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 MPLBACKEND=Agg TOKENIZERS_PARALLELISM=false
if [ -n "${WHEELS:-}" ]; then
	site="$(mktemp -d)"
	trap 'rm -rf "$site"' EXIT
	"$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl
	export PYTHONPATH="$PYTHONPATH:$site"
fi
if [ "${1:-}" = --dry-run ]; then
	make --no-print-directory test-gpu VENV= PYTHON="$PYTHON" WORKERS=1 PYTEST_FLAGS="-k devices"
	exec "$PYTHON" benchmarks/gpu.py --dry-run
fi
timeout 150 make --no-print-directory test-gpu VENV= PYTHON="$PYTHON" WORKERS=8 || echo "the tests on the GPU did not all pass" >&2
timeout 300 "$PYTHON" benchmarks/gpu.py --allow-dirty
