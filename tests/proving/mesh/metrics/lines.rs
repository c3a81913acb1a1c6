//! One line of the access log, and the series that it counts in.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use anyhow::ensure;
use serde::{Deserialize, Deserializer};

use super::Telemetry;
use crate::mesh::objects::Labels;
use crate::mesh::proxy::{ProxyFile, replace};

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

/// The trial of the tail: whole lines once, by side, code and flags.
// Mutations that make it fail: counting a line that is not whole, or a whole one twice; reading the host from
// the authority where the cluster names it; one series for all flags.
pub(super) fn check() -> anyhow::Result<()> {
    let root = tempfile::tempdir()?;
    let proxy: ProxyFile = serde_json::from_value(serde_json::json!({
        "namespace": "shop", "pod": "client-1", "ip": "10.244.1.10", "admin": "127.0.0.1:1",
        "agent": "127.0.0.1:2", "labels": {"app": "client", "version": "v1"}, "workload": "client",
        "service_account": "default", "inbound": [], "start": 1,
    }))?;
    proxy.announce(root.path())?;
    let peers =
        r#"{"10.244.2.1": {"namespace": "shop", "workload": "server-v1", "labels": {"app": "server"}}}"#;
    replace(&root.path().join("peers.json"), peers.as_bytes())?;
    let mut telemetry = Telemetry::new(root.path(), &proxy);
    telemetry.read()?;
    let ok = r#"{"direction": "outbound", "code": 200, "flags": "-", "duration_ms": 7, "authority": "server:80", "cluster": "outbound|80|v1|server.shop.svc.cluster.local", "upstream": "10.244.2.1:8080", "from": "10.244.1.10"}"#;
    let lost = r#"{"direction": "outbound", "code": 503, "flags": "UO", "duration_ms": 0, "authority": "server", "cluster": "outbound|80||server.shop.svc.cluster.local", "upstream": null, "from": "10.244.1.10"}"#;
    let nobody = r#"{"direction": "outbound", "code": 503, "flags": "NC", "duration_ms": 0, "authority": "server.shop", "cluster": null, "upstream": null}"#;
    let inbound = r#"{"direction": "inbound", "code": 500, "flags": "-", "duration_ms": 300, "authority": "client.shop.svc.cluster.local", "cluster": "inbound|8080||", "upstream": "10.244.1.10:9080", "from": "10.244.2.1"}"#;
    let log = proxy.access_log(root.path());
    std::fs::write(&log, format!("{ok}\n{lost}\n{ok}\n{nobody}\n{inbound}\n{}", &ok[..40]))?;
    telemetry.read()?;
    std::fs::write(&log, format!("{ok}\n{lost}\n{ok}\n{nobody}\n{inbound}\n{ok}\n"))?;
    telemetry.read()?;
    telemetry.read()?;
    let text = telemetry.render();
    let count = |wanted: &[&str]| {
        let lines = text.lines().filter(|line| line.starts_with("istio_requests_total"));
        let found: Vec<&str> = lines.filter(|line| wanted.iter().all(|part| line.contains(part))).collect();
        found.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    for (wanted, should) in [
        (
            vec![
                r#"reporter="source""#,
                r#"response_code="200""#,
                r#"destination_workload="server-v1""#,
                r#"destination_service="server.shop.svc.cluster.local""#,
                r#"source_workload="client""#,
            ],
            3,
        ),
        (
            vec![
                r#"response_flags="UO""#,
                r#"destination_workload="unknown""#,
                r#"destination_service_name="server""#,
            ],
            1,
        ),
        (vec![r#"response_flags="NC""#, r#"destination_service="server.shop""#], 1),
        (
            vec![
                r#"reporter="destination""#,
                r#"source_workload="server-v1""#,
                r#"destination_workload="client""#,
            ],
            1,
        ),
        (vec![""], 6),
    ] {
        ensure!(count(&wanted) == should, "{wanted:?}: {} instead of {should} in\n{text}", count(&wanted));
    }
    let buckets =
        text.lines().filter(|line| line.contains("_bucket") && line.contains(r#"reporter="destination""#));
    let buckets: Vec<&str> = buckets.collect();
    ensure!(buckets.iter().any(|line| line.ends_with(r#"le="250"} 0"#)), "a bound too low: {buckets:?}");
    ensure!(buckets.iter().any(|line| line.ends_with(r#"le="500"} 1"#)), "a bound too high: {buckets:?}");
    Ok(())
}
