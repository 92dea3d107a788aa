#!/usr/bin/env bash
# Gather into .whl/ the pure and binary wheels that a CUDA machine with PyTorch but no network usually lacks.
# There: pip install --no-index --no-deps .whl/*.whl, then PYTHONPATH=src.
#
# GPU_PYTHON  the Python version of that machine (default 3.12; Linux x86-64)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${GPU_PYTHON:-3.12}
packages=(pydantic annotated-types typing-inspection mrcfile ase tifffile)
pip=(.venv/bin/python -m pip --disable-pip-version-check)
target=(--only-binary=:all: --implementation cp --python-version "$python")
for glibc in 2_28 2_27 2_17 2_12 2_5; do
    target+=(--platform "manylinux_${glibc}_x86_64")
done
target+=(--platform manylinux2014_x86_64)

rm -rf .whl
mkdir .whl
"${pip[@]}" download --quiet --no-deps -d .whl "${target[@]}" "${packages[@]}"
# pydantic works with exactly one version of its core.
core=$(unzip -p .whl/pydantic-*.whl '*/METADATA' | sed -n 's/^Requires-Dist: pydantic-core==\([^ ;]*\).*/\1/p' | head -n 1)
"${pip[@]}" download --quiet --no-deps -d .whl "${target[@]}" "pydantic-core==$core"
ls .whl
