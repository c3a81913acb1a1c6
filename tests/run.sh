#!/bin/sh
# All tests. Needs Rust, and Go for the tests on a real API server; says plainly what is missing.
#
#   tests/run.sh               all but the proving ground
#   tests/run.sh --no-cluster  without the real API server (needs only Rust)
#   tests/run.sh --proofs      with the proving ground: real faults under real traffic, in network namespaces.
#                              Long; needs Linux as root, unshare and ip, and python3 with pip, apt-get and
#                              dpkg-deb, which fetch Envoy, Prometheus and Alertmanager (nothing is installed)
set -eu
cd "$(dirname "$0")/.."

cluster=yes
proofs=no
for arg in "$@"; do
  case "$arg" in
    --no-cluster) cluster=no ;;
    --proofs) proofs=yes ;;
    *) echo "usage: tests/run.sh [--no-cluster | --proofs]" >&2; exit 64 ;;
  esac
done
if [ "$cluster$proofs" = noyes ]; then
  echo "the proofs need the real API server: not both of --no-cluster and --proofs" >&2
  exit 64
fi

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
  MESHMEND_TEST_CONTROL_PLANE=$(tests/part.sh "control plane (Go)" tests/control_plane/build.sh)
  export MESHMEND_TEST_CONTROL_PLANE
else
  echo "left out on request: the tests on a real API server" >&2
  unset MESHMEND_TEST_CONTROL_PLANE || true
fi
if [ "$proofs" = yes ]; then
  for tool in unshare ip; do
    command -v "$tool" >/dev/null 2>&1 || {
      echo "missing: $tool, for the network namespaces of the proving ground (util-linux, iproute2)" >&2
      exit 1
    }
  done
  MESHMEND_TEST_PARTS=$(tests/part.sh "parts of the proving ground" tests/proving/fetch.sh)
  MESHMEND_TEST_ENVOY=$MESHMEND_TEST_PARTS/envoy
  export MESHMEND_TEST_PARTS MESHMEND_TEST_ENVOY
else
  echo "left out: the proving ground; tests/run.sh --proofs runs it" >&2
  unset MESHMEND_TEST_PARTS MESHMEND_TEST_ENVOY || true
fi
tests/part.sh "compiling the tests" cargo test --locked --no-run
# One part's failure does not hide the others'. tests/tidy.rs sees to it that none is left out.
failed=
part() {
  name=$1
  shift
  tests/part.sh "$name" cargo test --locked --no-fail-fast "$@" || failed="$failed, $name"
}
part "unit tests" --lib
part "tidy" --test tidy
part "agent" --test agent
# Its types are there and its worlds are not.
part "counterfactual (no test yet)" --test never_worse
[ "$cluster" = no ] || part "real API server" --test cluster
[ "$proofs" = no ] || part "proofs" --test proving
if [ -n "$failed" ]; then
  echo "failed: ${failed#, }" >&2
  exit 1
fi
