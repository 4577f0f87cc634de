#!/usr/bin/env bash
# Makes .venv and installs the named pinned sets (demo, test, docs) into it, besides the main one; does nothing if they are there.
# Everything is checked by its hash and comes as a wheel: nothing is compiled, nothing runs at installation.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME VIRTUAL_ENV

missing() {
    echo "panda: $1" >&2
    exit 1
}

# The fastest Python 3.11 of this machine: one built without optimisation (pyenv's default) runs everything a third slower.
# Twice in turn, each one's better time: a machine's speed moves within seconds. The first stays unless another needs less than 9/10 of it.
python=""
best=""
declare -A took
for candidate in python3.11 /usr/bin/python3.11 python3 python3.11 /usr/bin/python3.11 python3; do
    # Microseconds of a thousand small JSON texts; nothing where it is not 3.11 or cannot make environments.
    now="$("$candidate" -c '
import ensurepip, json, sys, timeit, venv
if sys.version_info[:2] == (3, 11):
    print(int(1e6 * min(timeit.repeat(lambda: json.dumps({"a": [1, 2, 3], "b": "c"}), number=1000, repeat=60))))' 2>/dev/null)" || continue
    if [ -n "$now" ] && { [ -z "${took[$candidate]:-}" ] || [ "$now" -lt "${took[$candidate]}" ]; }; then
        took[$candidate]="$now"
    fi
done
for candidate in python3.11 /usr/bin/python3.11 python3; do
    if [ -n "${took[$candidate]:-}" ] && { [ -z "$best" ] || [ $((took[$candidate] * 10)) -lt $((best * 9)) ]; }; then
        python="$candidate"
        best="${took[$candidate]}"
    fi
done
if [ -z "$python" ]; then
    for candidate in python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            python="$candidate"
            break
        fi
    done
fi
[ -n "$python" ] || missing "Python 3.11 is missing: install it (Debian 12: apt-get install python3 python3-venv)."
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    missing "Python's module venv is missing: install it (Debian 12: apt-get install python3-venv)."
if [ "$(id -u)" = 0 ] && [ -z "${PANDA_DATABASE_URL:-}" ]; then
    command -v unshare >/dev/null ||
        missing "The program unshare is missing, which root needs for PostgreSQL: install it (Debian 12: apt-get install util-linux)."
    unshare --user --map-user=1000 --map-group=1000 -- true 2>/dev/null ||
        missing "PostgreSQL does not run as root and this machine forbids user namespaces: run make as an ordinary user, or set PANDA_DATABASE_URL."
fi

sets=(requirements/boot.txt requirements/main.txt)
for name in "$@"; do
    sets+=("requirements/$name.txt")
done
# A set that was installed once stays wanted, so that `make test` and `make demo` in turn install nothing.
for name in demo test docs; do
    if [ -e ".venv/.set-$name" ] && [[ " ${sets[*]} " != *" requirements/$name.txt "* ]]; then
        sets+=("requirements/$name.txt")
    fi
done
state="$(cat requirements/install.sh pyproject.toml requirements/main.in "${sets[@]}" | sha256sum | cut -d' ' -f1) $PWD"
if [ "$(cat .venv/.installed 2>/dev/null)" = "$state" ] && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

echo "Installing into .venv: ${sets[*]}"
if [ "$(.venv/bin/python -c 'import sys; print(sys.prefix)' 2>/dev/null)" != "$PWD/.venv" ]; then
    rm -rf .venv
    "$python" -m venv .venv
fi
rm -f .venv/.installed
args=()
for file in "${sets[@]}"; do
    args+=(-r "$file")
done
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/boot.txt
if ! .venv/bin/uv pip install --quiet --system-certs --python .venv/bin/python --require-hashes --only-binary :all: --compile-bytecode "${args[@]}"; then
    echo "uv could not install them; trying pip, which knows other ways to the package index."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: "${args[@]}"
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation --editable .
for name in "$@"; do
    touch ".venv/.set-$name"
done
.venv/bin/python -m compileall -q panda panda_api pilot flows tasks
printf '%s' "$state" >.venv/.installed
