#!/usr/bin/env bash
# Train a full network on a CUDA machine: bash scripts/train-gpu.sh NETWORK [MINUTES] [FOLDER] [VARIANT]
# NETWORK: scgn, sfin, tsgnet or temdiff; VARIANT: full, for temdiff full-biological or full-materials.
# Goes on from the checkpoint in FOLDER where there is one; MINUTES count from the first start. On a machine without a network run `make wheels-gpu` elsewhere
# first and bring .whl/ along.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

network=${1:?scgn, sfin, tsgnet or temdiff}
minutes=${2:-9}
out=${3:-trained}
variant=${4:-full}
if [[ "$network-$variant" == temdiff-full ]]; then
    variant=full-biological
fi
python=${PYTHON:-python3}
mkdir -p "$out"
if compgen -G ".whl/*.whl" >/dev/null; then
    "$python" -m pip install --quiet --no-index --no-deps .whl/*.whl
fi
export PYTHONPATH=src OMP_NUM_THREADS=1
"$python" -m splatom train "$network" "$out/$network-$variant.safetensors" --variant "$variant" --device cuda --batch 6 \
    --minutes "$minutes" --every 500 --checkpoint "$out/$network" --resume
