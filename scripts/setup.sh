#!/usr/bin/env bash
# Make .venv with Splatom and all that its tests and docs need. Quick when nothing has changed.
#
# PYTHON           interpreter to use (default: a Python 3.11 to 3.13 found on PATH)
# TORCH_INDEX_URL  where the CPU build of torch comes from on a machine without an NVIDIA device
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
python=$venv/bin/python
torch_index=${TORCH_INDEX_URL:-https://download.pytorch.org/whl/cpu}
constraints=constraints/ci.txt
stamp=$venv/.splatom-setup
wanted=$(cat pyproject.toml "$constraints" scripts/setup.sh scripts/system-libraries.sh <(pwd -P) | cksum)

if [[ -f $stamp && "$(<"$stamp")" == "$wanted" ]] && "$python" -c "" 2>/dev/null; then
    exit 0
fi

say() { echo "splatom: $*"; }
fail() {
    say "$*" >&2
    exit 1
}

bash scripts/system-libraries.sh

# ---------------------------------------------------------------- an interpreter
can_make_venv() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

make_venv() {
    say "making $venv with $("$1" --version)"
    rm -rf "$venv"
    "$1" -m venv "$venv"
}

# pip looks into the folders of its own settings (find-links) only, so this asks no server.
has_local_torch() {
    "$python" -m pip install --dry-run --quiet --no-index --no-deps --ignore-installed -r "$constraints" 2>/dev/null
}

if ! { [[ -z "${PYTHON:-}" ]] && can_make_venv "$python" && "$python" -m pip --version >/dev/null 2>&1; }; then
    usable=()
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        if can_make_venv "$candidate"; then usable+=("$candidate"); fi
    done
    ((${#usable[@]})) ||
        fail "no Python 3.11 or later with venv was found; install one: sudo apt-get install python3 python3-venv"
    # The newest one, but Python 3.11 where pip has a local CPU build of torch for it.
    chosen=${usable[0]}
    for candidate in "${usable[@]}"; do
        if [[ "$("$candidate" -c 'import sys; print(sys.version_info[:2])')" == "(3, 11)" ]]; then
            make_venv "$candidate"
            if has_local_torch; then chosen=""; fi
            break
        fi
    done
    if [[ -n "$chosen" ]] && ! [[ "$chosen" == "$candidate" && -x $python ]]; then make_venv "$chosen"; fi
fi

# ---------------------------------------------------------------- torch first, so that nothing else chooses its build
pip_install() {
    "$python" -m pip install -qq --disable-pip-version-check "$@"
}

if "$python" -c "import torch" 2>/dev/null; then
    :
elif has_local_torch; then
    say "installing the local CPU build of torch"
    pip_install -r "$constraints"
elif [[ "$(uname -s)" != Linux ]]; then
    pip_install torch
elif nvidia-smi -L >/dev/null 2>&1; then
    say "an NVIDIA device is here: installing torch with CUDA (several GB)"
    pip_install torch
else
    say "no NVIDIA device: installing the CPU build of torch from $torch_index"
    pip_install --index-url "$torch_index" torch ||
        fail "no torch from $torch_index; set TORCH_INDEX_URL to an index with its CPU build that you can reach"
fi

# ---------------------------------------------------------------- the rest, with torch held as it is
held=$(mktemp)
trap 'rm -f "$held"' EXIT
"$python" -c 'from importlib.metadata import version; print("torch==" + version("torch"))' >"$held"
say "installing Splatom and its tools into $venv"
pip_install -c "$held" -e ".[dev,docs,formats]"
echo "$wanted" >"$stamp"
