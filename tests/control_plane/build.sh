#!/bin/sh
# Builds the control plane for the tests and prints the folder that holds it.
#
# The folder is named by a hash of everything that goes in, so that a second run costs nothing, and it
# lies outside the checkout, so that a fresh clone finds it too.
set -eu
cd "$(dirname "$0")"

export GOTOOLCHAIN=local CGO_ENABLED=0
version=v1.36.3
flags="-trimpath -buildvcs=false"
pkg=k8s.io/component-base/version
client=k8s.io/client-go/pkg/version
ld="-s -w"
for p in $pkg $client; do
  ld="$ld -X $p.gitVersion=$version -X $p.gitMajor=1 -X $p.gitMinor=36"
done

cache=${MESHMEND_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meshmend}
hash=$( { cat go.mod go.sum ./*.go cert_manager/go.mod cert_manager/go.sum cert_manager/*.go build.sh; go version; echo "$flags $ld"; } | sha256sum | cut -c1-16)
out=$cache/control-plane-$hash
if [ -x "$out/control_plane" ] && [ -x "$out/cert_manager" ]; then
  ./crds.sh "$out" >&2
  echo "$out"
  exit 0
fi

mkdir -p "$cache"
part=$(mktemp -d "$cache/part-XXXXXX")
trap 'rm -rf "$part"' EXIT
echo "building the control plane for the tests (once; about 8 minutes on 2 cores, seconds where Go still has the parts)" >&2
# shellcheck disable=SC2086
go build $flags -ldflags "$ld" -o "$part/control_plane" . >&2
# cert-manager's controllers need other versions of what both are built from: a module of their own.
(
  cd cert_manager
  # shellcheck disable=SC2086
  go build $flags -ldflags "-s -w" -o "$part/cert_manager" . >&2
)
./crds.sh "$part" >&2
chmod 755 "$part"
mv -T "$part" "$out" 2>/dev/null || [ -x "$out/control_plane" ]
echo "$out"
