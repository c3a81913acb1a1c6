#!/bin/sh
# Puts the CRDs of the meshes beside a control plane that was built: crds.sh FOLDER.
#
# They are files of modules that go.mod names, so the hash of the folder covers their versions; which of
# them are taken is said here alone, and a change of it builds nothing anew.
set -eu
cd "$(dirname "$0")"
export GOTOOLCHAIN=local
out=$1

# take NAME FILE...: one file of several; it is there whole or not at all.
take() {
  name=$1
  shift
  part=$(mktemp "$out/$name-XXXXXX")
  for file in "$@"; do
    cat "$file"
    echo "---"
  done >"$part"
  chmod 644 "$part"
  mv "$part" "$out/$name.yaml"
}

# want NAME: whether it is missing.
want() {
  [ ! -s "$out/$1.yaml" ]
}

if want istio-crds; then
  take istio-crds "$(go list -m -f '{{.Dir}}' istio.io/api)/kubernetes/customresourcedefinitions.gen.yaml"
fi
cd cert_manager
if want cert-manager-crds; then
  take cert-manager-crds "$(go list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)"/deploy/crds/*.yaml
fi
# cert-manager is built with the Gateway API's types, in the version whose CRDs are taken.
if want gateway-crds; then
  dir=$(go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)
  take gateway-crds "$dir/config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"
fi
