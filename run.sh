#!/usr/bin/env bash
# Run one experiment; set the environment up first where that has not been done.
#
#   bash run.sh                        config.yaml: a small experiment, done in a minute
#   bash run.sh NAME [options]         experiment_configs/**/NAME.yaml
#   bash run.sh [options]              config.yaml, or the file that --config_path names
#   bash run.sh --python [FILE ...]    set up only, with further requirements files; print the interpreter's path
#
# The options are those of `python -m src.cli --help`. Paths are relative to the project's folder.
# An active environment that has the requirements is used as it is; otherwise they go into .venv here.
set -euo pipefail # which command substitutions don't inherit: the functions below say `|| exit` where it matters
cd "$(dirname "${BASH_SOURCE[0]}")"

venv=.venv
unfinished=$venv/.unfinished # there while pip works: a set-up that was killed is thrown away, never trusted
installed=$venv/installed    # copies of the requirements files that were installed in full

say() { printf '%s\n' "$*" >&2; }
die() {
    say "error: $*"
    exit 2
}

# Print the path of the active Python if it has every requirement. Of requirements.txt it needs the packages, in
# versions the code works with; of further files (the linters) exactly the versions named. Imports nothing heavy.
active_python() {
    command -v python3 >/dev/null && python3 - "$venv" "$@" 2>/dev/null <<'PYTHON'
import re, sys
from importlib.metadata import version
from pathlib import Path

OLDEST = {"torch": (2, 11), "pydantic": (2, 0)}
own_venv, *files = sys.argv[1:]
# The project's own .venv is judged by what was installed in full, not by what metadata lies there.
if sys.version_info < (3, 11) or Path(sys.prefix).resolve() == Path(own_venv).resolve():
    sys.exit(1)
for file in files:
    for name, pin in re.findall(r"^([\w.-]+)==([\w.]+)", Path(file).read_text(), re.M):
        found = version(name)
        numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
        if numbers < OLDEST.get(name, ()) or (file != "requirements.txt" and found != pin):
            sys.exit(1)
print(sys.executable)
PYTHON
}

has_installed() {
    [ ! -e "$unfinished" ] && [ -x "$venv/bin/python" ] || return 1
    local file
    for file in "$@"; do
        cmp -s "$file" "$installed/$file" || return 1
    done
}

# The first Python on the path that is new enough.
base_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is needed and none is on the path; install one (Debian: apt-get install python3 python3-venv)"
}

install() {
    local base file
    if [ -e "$unfinished" ]; then
        say "an earlier set-up was killed: starting anew"
        rm -rf "$venv"
    fi
    base=$(base_python) || exit
    "$base" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$base cannot make virtual environments (Debian: apt-get install python3-venv)"
    say "setting up $venv with $* (once; several GB with torch)"
    mkdir -p "$venv" || exit
    : >"$unfinished" || exit
    trap 'exit 130' INT TERM # on Ctrl-C pip fails like one without network, but may have half replaced a package
    [ -x "$venv/bin/python" ] || "$base" -m venv "$venv" >&2 || die "$base could not make $venv"
    if ! "$venv/bin/python" -m pip install --disable-pip-version-check "${@/#/--requirement=}" >&2; then
        rm "$unfinished" # what was installed before still stands: no network must not cost a good environment
        die "the packages could not be installed; pip's reason is above"
    fi
    for file in "$@"; do
        mkdir -p "$installed/$(dirname "$file")" && cp "$file" "$installed/$file" || exit
    done
    rm "$unfinished"
}

# Print the interpreter that has these requirements files, having set it up where needed.
python_with() {
    active_python "$@" && return
    if ! has_installed "$@"; then
        (
            # One set-up at a time: a second start waits, and then finds the work done.
            if command -v flock >/dev/null && ! flock --nonblock 9; then
                say "waiting for another set-up to end"
                flock 9
            fi
            has_installed "$@" || install "$@"
        ) 9>>requirements.txt || exit
    fi
    printf '%s\n' "$PWD/$venv/bin/python"
}

# Print the path of the one config of that name.
config_named() {
    local found near
    found=$(find experiment_configs -name "$1.yaml" 2>/dev/null | sort)
    case $(grep -c . <<<"$found") in
    1) printf '%s\n' "$found" ;;
    0)
        near=$(find experiment_configs -name '*.yaml' 2>/dev/null | nearest "$1")
        die "no experiment_configs/**/$1.yaml${near:+; near it: $near} (for a file elsewhere: --config_path FILE)"
        ;;
    *) die "$1 is the name of several configs; choose one with --config_path:"$'\n'"$found" ;;
    esac
}

# Of the paths on standard input, the names nearest to $1, comma-separated.
nearest() {
    "$(base_python)" -c '
import difflib, pathlib, sys
names = {pathlib.Path(line.strip()).stem for line in sys.stdin}
print(", ".join(difflib.get_close_matches(sys.argv[1], sorted(names), n=5, cutoff=0.5)))' "$1"
}

case ${1:-} in
-h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' run.sh ;;
--python)
    shift
    python_with requirements.txt "$@"
    ;;
'' | -*)
    python=$(python_with requirements.txt)
    exec "$python" -m src.cli "$@"
    ;;
*)
    config=$(config_named "$1")
    shift
    python=$(python_with requirements.txt)
    exec "$python" -m src.cli --config_path "$config" "$@"
    ;;
esac
