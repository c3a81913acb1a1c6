#!/bin/sh
# All tests. Needs Rust, and Go for the tests on a real API server; says plainly what is missing.
#
#   tests/run.sh               everything
#   tests/run.sh --no-cluster  without the real API server (needs only Rust)
set -eu
cd "$(dirname "$0")/.."

cluster=yes
for arg in "$@"; do
  case "$arg" in
    --no-cluster) cluster=no ;;
    *) echo "usage: tests/run.sh [--no-cluster]" >&2; exit 64 ;;
  esac
done

command -v cargo >/dev/null 2>&1 || {
  echo "missing: Rust 1.95 or newer (cargo); install it from https://rustup.rs" >&2
  exit 1
}
command -v cc >/dev/null 2>&1 || {
  echo "missing: a C compiler (cc), for SQLite and ring; for instance gcc or clang from your system" >&2
  exit 1
}
if [ "$cluster" = yes ]; then
  command -v go >/dev/null 2>&1 || {
    echo "missing: Go 1.26 or newer, for the tests on a real API server (https://go.dev/dl)" >&2
    echo "without it: tests/run.sh --no-cluster" >&2
    exit 1
  }
  # First Go, then Rust: both at once would fight for the same cores.
  MESHMEND_TEST_CONTROL_PLANE=$(tests/control_plane/build.sh)
  export MESHMEND_TEST_CONTROL_PLANE
else
  echo "left out on request: the tests on a real API server" >&2
  unset MESHMEND_TEST_CONTROL_PLANE || true
fi
cargo test --locked
