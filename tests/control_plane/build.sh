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
hash=$( { cat go.mod go.sum ./*.go build.sh; go version; echo "$flags $ld"; } | sha256sum | cut -c1-16)
out=$cache/control-plane-$hash
if [ -x "$out/control_plane" ] && [ -s "$out/istio-crds.yaml" ]; then
  echo "$out"
  exit 0
fi

mkdir -p "$cache"
part=$(mktemp -d "$cache/part-XXXXXX")
trap 'rm -rf "$part"' EXIT
echo "building the control plane for the tests (about 5 minutes on 2 cores, once)" >&2
# shellcheck disable=SC2086
go build $flags -ldflags "$ld" -o "$part/control_plane" . >&2
crds=$(go list -m -f '{{.Dir}}' istio.io/api)
cp "$crds/kubernetes/customresourcedefinitions.gen.yaml" "$part/istio-crds.yaml"
chmod 644 "$part/istio-crds.yaml"
chmod 755 "$part"
mv -T "$part" "$out" 2>/dev/null || [ -x "$out/control_plane" ]
echo "$out"
