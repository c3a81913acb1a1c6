//! One proxy's configuration, in Envoy's words, made of the objects of the mesh. Pure.
//!
//! Route configurations are made one a port, named by it, as istiod makes them; so they can be compared. A
//! sidecar of the proving ground has one outbound listener, on port 15001 of its pod's address, as istiod's
//! HTTP proxy listener has it: it serves one route configuration, `15001`, that holds the virtual hosts of
//! all ports, those of port 80 under their bare names too, those of others under `name:port`.

mod clusters;
mod delegates;
mod endpoints;
mod listeners;
mod policy;
mod routes;
mod rules;
mod virtual_hosts;

use serde_json::Value;

use super::objects::{Mesh, Proxy};

pub(crate) use listeners::OUTBOUND_PORT;
pub(crate) use virtual_hosts::route_configurations;

/// What Envoy is to have, resource by resource.
#[derive(Debug, Default)]
pub(crate) struct Xds {
    pub(crate) listeners: Vec<Value>,
    pub(crate) routes: Vec<Value>,
    pub(crate) clusters: Vec<Value>,
    pub(crate) endpoints: Vec<Value>,
}

/// All of it for one proxy. Only a sidecar has listeners, and with them one merged route configuration; for
/// other clients the route configurations are those of the ports.
pub(crate) fn translate(mesh: &Mesh, proxy: &Proxy) -> Xds {
    let ports = route_configurations(mesh, proxy);
    let mut clusters = clusters::outbound(mesh, proxy);
    let endpoints = endpoints::assignments(mesh, proxy, &clusters);
    let (listeners, routes) = match &proxy.sidecar {
        Some(sidecar) => {
            clusters.iter_mut().for_each(|cluster| listeners::read_from_files(cluster, sidecar));
            clusters.extend(sidecar.inbound.iter().map(|port| listeners::application(sidecar, *port)));
            (listeners::all(sidecar, &listeners::added(mesh, proxy)), vec![virtual_hosts::merged(&ports)])
        }
        None => (Vec::new(), ports),
    };
    Xds { listeners, routes, clusters, endpoints }
}

/// A duration in the form that Envoy prints: no fraction, or as many digits as three divide.
fn duration(nanoseconds: u128) -> String {
    let (whole, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    if rest == 0 {
        format!("{whole}s")
    } else if rest % 1_000_000 == 0 {
        format!("{whole}.{:03}s", rest / 1_000_000)
    } else if rest % 1_000 == 0 {
        format!("{whole}.{:06}s", rest / 1_000)
    } else {
        format!("{whole}.{rest:09}s")
    }
}

/// A duration as the objects write it (`1.5s`, `1200ms`, `1m30s`), in Envoy's form.
fn envoy_duration(written: &Value) -> Option<String> {
    let mut rest = written.as_str()?;
    let mut total = 0_u128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let scale: u128 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        total += whole.parse::<u128>().ok()? * scale;
        if !fraction.is_empty() {
            let places = u32::try_from(fraction.len()).ok()?;
            total += fraction.parse::<u128>().ok()? * scale / 10_u128.checked_pow(places)?;
        }
        rest = after;
    }
    Some(duration(total))
}
