//! The trial of the tail: whole lines once, by side, code and flags.

use anyhow::ensure;
use serde_json::json;

use super::Telemetry;
use crate::mesh::proxy::{ProxyFile, replace};

const OK: &str = r#"{"direction": "outbound", "code": 200, "flags": "-", "duration_ms": 7, "authority": "server:80", "cluster": "outbound|80|v1|server.shop.svc.cluster.local", "upstream": "10.244.2.1:8080", "from": "10.244.1.10"}"#;
const SHED: &str = r#"{"direction": "outbound", "code": 503, "flags": "UO", "duration_ms": 0, "authority": "server", "cluster": "outbound|80||server.shop.svc.cluster.local", "upstream": null, "from": "10.244.1.10"}"#;
const NOBODY: &str = r#"{"direction": "outbound", "code": 503, "flags": "NC", "duration_ms": 0, "authority": "server.shop", "cluster": null, "upstream": null}"#;
const INBOUND: &str = r#"{"direction": "inbound", "code": 500, "flags": "-", "duration_ms": 300, "authority": "client.shop.svc.cluster.local", "cluster": "inbound|8080||", "upstream": "10.244.1.10:9080", "from": "10.244.2.1"}"#;

/// Labels that a series has, and how many requests it counts then.
const EXPECTED: [(&[&str], u64); 6] = [
    (
        &[
            "reporter=\"source\"",
            "source_workload=\"client\"",
            "response_code=\"200\"",
            "destination_workload=\"server-v1\"",
        ],
        3,
    ),
    (&["response_code=\"200\"", "destination_service=\"server.shop.svc.cluster.local\""], 3),
    (
        &["response_flags=\"UO\"", "destination_workload=\"unknown\"", "destination_service_name=\"server\""],
        1,
    ),
    (&["response_flags=\"NC\"", "destination_service=\"server.shop\""], 1),
    (&["reporter=\"destination\"", "source_workload=\"server-v1\"", "destination_workload=\"client\""], 1),
    (&[], 6),
];

// Mutations that make it fail: counting a line that is not whole, or a whole one twice; reading the host from
// the authority where the cluster names it; one series for all flags.
pub(super) fn check() -> anyhow::Result<()> {
    let root = tempfile::tempdir()?;
    let proxy: ProxyFile = serde_json::from_value(json!({
        "namespace": "shop", "pod": "client-1", "ip": "10.244.1.10", "admin": "127.0.0.1:1",
        "agent": "127.0.0.1:2", "labels": {"app": "client", "version": "v1"}, "workload": "client",
        "service_account": "default", "inbound": [], "start": 1,
    }))?;
    proxy.announce(root.path())?;
    let peer = json!({"namespace": "shop", "workload": "server-v1", "labels": {"app": "server"}});
    replace(&root.path().join("peers.json"), json!({"10.244.2.1": peer}).to_string().as_bytes())?;
    let mut telemetry = Telemetry::new(root.path(), &proxy);
    telemetry.read()?;
    let log = proxy.access_log(root.path());
    let most = format!("{OK}\n{SHED}\n{OK}\n{NOBODY}\n{INBOUND}\n");
    std::fs::write(&log, format!("{most}{}", &OK[..40]))?;
    telemetry.read()?;
    std::fs::write(&log, format!("{most}{OK}\n"))?;
    telemetry.read()?;
    telemetry.read()?;
    let text = telemetry.render();
    for (wanted, should) in EXPECTED {
        let lines = text.lines().filter(|line| line.starts_with("istio_requests_total"));
        let found = lines.filter(|line| wanted.iter().all(|part| line.contains(part)));
        let count: u64 = found.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
        ensure!(count == should, "{wanted:?}: {count} instead of {should} in\n{text}");
    }
    bounds(&text)
}

/// A request of 300 ms lies under the bound of 500 ms and over that of 250 ms.
fn bounds(text: &str) -> anyhow::Result<()> {
    let theirs = |line: &&str| line.contains("_bucket") && line.contains("reporter=\"destination\"");
    let buckets: Vec<&str> = text.lines().filter(theirs).collect();
    ensure!(buckets.iter().any(|line| line.ends_with("le=\"250\"} 0")), "a bound too low: {buckets:?}");
    ensure!(buckets.iter().any(|line| line.ends_with("le=\"500\"} 1")), "a bound too high: {buckets:?}");
    Ok(())
}
