//! One line of the access log, and the series that it counts in.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer};

use crate::mesh::objects::Labels;
use crate::mesh::proxy::ProxyFile;

/// What Envoy logs of a request; what it does not know is null.
#[derive(Deserialize)]
pub(super) struct Line {
    direction: Direction,
    #[serde(default, deserialize_with = "or_default")]
    code: u16,
    #[serde(default, deserialize_with = "or_default")]
    flags: String,
    #[serde(default, deserialize_with = "or_default")]
    cluster: String,
    #[serde(default, deserialize_with = "or_default")]
    authority: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) duration_ms: f64,
    #[serde(default)]
    upstream: Option<String>,
    #[serde(default)]
    from: Option<String>,
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Clone, Copy, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Outbound,
    Inbound,
}

/// Workloads by address.
pub(super) type Peers = BTreeMap<String, Peer>;

/// The workload behind an address.
#[derive(Clone, Default, Deserialize)]
pub(super) struct Peer {
    namespace: String,
    workload: String,
    #[serde(default)]
    labels: Labels,
}

/// The labels of a series, as they are written.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Series(Vec<(&'static str, String)>);

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            write!(f, "{comma}{name}=\"{value}\"")?;
        }
        Ok(())
    }
}

const UNKNOWN: &str = "unknown";

/// The labels of one side of a request.
fn side(source: bool, peer: Option<&Peer>) -> [(&'static str, String); 6] {
    let known = |value: Option<&str>| value.filter(|text| !text.is_empty()).unwrap_or(UNKNOWN).to_owned();
    let label = |name: &str| known(peer.and_then(|peer| peer.labels.get(name)).map(String::as_str));
    let keys = if source { SOURCE } else { DESTINATION };
    let values = [
        known(peer.map(|peer| peer.workload.as_str())),
        known(peer.map(|peer| peer.namespace.as_str())),
        label("app"),
        label("version"),
        label("app"),
        label("version"),
    ];
    let mut pairs = keys.into_iter().zip(values);
    std::array::from_fn(|_| pairs.next().unwrap_or_default())
}

const SOURCE: [&str; 6] = [
    "source_workload",
    "source_workload_namespace",
    "source_app",
    "source_version",
    "source_canonical_service",
    "source_canonical_revision",
];
const DESTINATION: [&str; 6] = [
    "destination_workload",
    "destination_workload_namespace",
    "destination_app",
    "destination_version",
    "destination_canonical_service",
    "destination_canonical_revision",
];

/// The series of a request in the proxy that logged it.
pub(super) fn series(line: &Line, proxy: &ProxyFile, peers: &Peers) -> Series {
    let own = Peer {
        namespace: proxy.namespace.clone(),
        workload: proxy.workload.clone(),
        labels: proxy.labels.clone(),
    };
    let at = |ip: IpAddr| peers.get(&ip.to_string());
    let upstream = line.upstream.as_deref().and_then(|text| text.parse::<SocketAddr>().ok());
    let from = line.from.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
    let outbound = line.direction == Direction::Outbound;
    let (reporter, source, destination, security) = if outbound {
        ("source", Some(&own), upstream.and_then(|address| at(address.ip())), UNKNOWN)
    } else {
        ("destination", from.and_then(at), Some(&own), "none")
    };
    let mut labels = vec![("reporter", reporter.to_owned())];
    labels.extend(side(true, source));
    labels.extend(side(false, destination));
    let host = service(line);
    let (name, rest) = host.split_once('.').unwrap_or((&host, ""));
    let namespace = rest.split('.').next().filter(|text| !text.is_empty()).unwrap_or(UNKNOWN);
    let flags = if line.flags.is_empty() { "-" } else { &line.flags };
    for (key, value) in [
        ("destination_service", host.as_str()),
        ("destination_service_name", name),
        ("destination_service_namespace", namespace),
        ("request_protocol", "http"),
        ("response_code", &line.code.to_string()),
        ("response_flags", flags),
        ("grpc_response_status", ""),
        ("connection_security_policy", security),
    ] {
        labels.push((key, value.to_owned()));
    }
    Series(labels)
}

/// The host that was asked: the cluster's where there is one, else what the client wrote.
fn service(line: &Line) -> String {
    if line.cluster.starts_with("outbound|") {
        line.cluster.rsplit('|').next().unwrap_or_default().to_owned()
    } else {
        let host = line.authority.split(':').next().unwrap_or_default();
        if host.is_empty() { UNKNOWN.to_owned() } else { host.to_owned() }
    }
}
