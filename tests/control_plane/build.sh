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
if [ -x "$out/control_plane" ] && [ -x "$out/cert_manager" ] && [ -s "$out/cert-manager-crds.yaml" ]; then
  echo "$out"
  exit 0
fi

mkdir -p "$cache"
part=$(mktemp -d "$cache/part-XXXXXX")
trap 'rm -rf "$part"' EXIT
echo "building the control plane for the tests (about 8 minutes on 2 cores, once)" >&2
# shellcheck disable=SC2086
go build $flags -ldflags "$ld" -o "$part/control_plane" . >&2
crds=$(go list -m -f '{{.Dir}}' istio.io/api)
cp "$crds/kubernetes/customresourcedefinitions.gen.yaml" "$part/istio-crds.yaml"
# cert-manager's controllers need other versions of what both are built from: a module of their own.
(
  cd cert_manager
  # shellcheck disable=SC2086
  go build $flags -ldflags "-s -w" -o "$part/cert_manager" . >&2
  crds=$(go list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)
  for file in "$crds"/deploy/crds/*.yaml; do
    cat "$file"
    echo "---"
  done >"$part/cert-manager-crds.yaml"
)
chmod 644 "$part/istio-crds.yaml" "$part/cert-manager-crds.yaml"
chmod 755 "$part"
mv -T "$part" "$out" 2>/dev/null || [ -x "$out/control_plane" ]
echo "$out"
