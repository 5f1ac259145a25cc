#!/usr/bin/env bash
# Install on a GPU machine, without a network, what `make gpu-bundle` gathered.
#
#   bash benchmarks/gpu/setup.sh                  into the Python that runs as python3
#   bash benchmarks/gpu/setup.sh --target DIR     beside an environment that cannot be written
#   bash benchmarks/gpu/setup.sh --list           what is here, for `make gpu-bundle HAVE=…`
#   PYTHON=/path/to/python3 bash …                into another Python; --help shows the rest
#
# Joins the pieces, compares their checksums, installs what is missing, leaves alone what is there,
# and ends with `luthier doctor`. May be run again at any time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=${PYTHON:-$(command -v python3 || command -v python || true)}
if [ -z "$python" ] || ! command -v "$python" >/dev/null; then
	echo "setup: no Python here${PYTHON:+ ($PYTHON)}. Name one: PYTHON=/path/to/python3 bash $0" >&2
	exit 1
fi
if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
	echo "setup: Luthier runs on Python 3.11 to 3.13, and $python is $("$python" -V 2>&1)." \
		"Name another: PYTHON=/path/to/python3 bash $0" >&2
	exit 1
fi
# -P: a file of this folder must not be taken for a module of Python's own.
exec "$python" -P benchmarks/gpu/install_bundle.py "$@"
