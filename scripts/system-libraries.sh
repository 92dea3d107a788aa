#!/usr/bin/env bash
# Install what Qt, OpenGL, the virtual display and venv need from Debian or Ubuntu, as root or by `sudo -n`, and only
# what is missing. Where that is not allowed, say in one line what to install.
set -euo pipefail

wanted=(
    python3-venv xvfb xauth libgl1 libegl1 libgl1-mesa-dri libopengl0 libglib2.0-0 libxkbcommon-x11-0
    libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0
    libxcb-xkb1 libdbus-1-3 libfontconfig1 fonts-dejavu-core
)

if [[ "$(uname -s)" != Linux ]]; then
    exit 0
fi
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    command -v xvfb-run >/dev/null ||
        echo "splatom: no apt-get here; install Xvfb with xvfb-run, xauth, Mesa's OpenGL and Qt's xcb libraries" >&2
    exit 0
fi

is_installed() { # newer releases have renamed some libraries to NAMEt64
    grep -qx installed < <(dpkg-query -W -f='${db:Status-Status}\n' "$1" "$1t64" 2>/dev/null)
}

missing=()
for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
    exit 0
fi

if [[ "$(id -u)" == 0 ]]; then
    as_root=(env)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n env)
else
    echo "splatom: please install system libraries first: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi

echo "splatom: installing system libraries: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -q &&
    "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    echo "splatom: apt-get failed (its last lines are above); install these: ${missing[*]}" >&2
    exit 1
fi
