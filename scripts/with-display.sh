#!/usr/bin/env bash
# Run a command with a display: the desktop's own where there is one, else a virtual one (Xvfb, software OpenGL).
# With --virtual the virtual one is taken in any case, so that tests open no window in front of a person.
set -euo pipefail

export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE} # OpenMP threads that spin make two busy processes crawl

virtual=no
if [[ "${1:-}" == --virtual ]]; then
    virtual=yes
    shift
elif [[ "$(uname -s)" == Linux && -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]]; then
    virtual=yes
fi

if [[ $virtual == no || "$(uname -s)" != Linux ]]; then
    exec "$@"
fi
if ! command -v xvfb-run >/dev/null; then
    echo "splatom: no display and no xvfb-run; install them: sudo apt-get install xvfb xauth" >&2
    exit 1
fi
unset WAYLAND_DISPLAY
# Never Qt's "offscreen" platform: it has no OpenGL, and napari cannot draw a layer on it.
export QT_QPA_PLATFORM=xcb LIBGL_ALWAYS_SOFTWARE=1
exec xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" "$@"
