//! Prometheus and Alertmanager on their usual ports.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::parts::Parts;
use crate::process::Component;
use crate::wait::until;

/// Where Prometheus answers.
pub(crate) const PROMETHEUS: &str = "http://127.0.0.1:9090";
/// Where Alertmanager answers.
pub(crate) const ALERTMANAGER: &str = "http://127.0.0.1:9093";
/// How long either may take until it is ready; on an idle machine it is one second.
const READY: Duration = Duration::from_secs(60);

/// Starts Prometheus. It asks the pods that the kubelet names, once a second; `rules` are the groups of
/// its rule file.
pub(crate) async fn prometheus(
    (parts, folder, targets): (&Parts, &Path, &Path),
    rules: &Value,
) -> anyhow::Result<Arc<Component>> {
    std::fs::create_dir_all(folder)?;
    let config = folder.join("prometheus.yml");
    std::fs::write(folder.join("rules.yml"), json!({ "groups": rules }).to_string())?;
    std::fs::write(&config, scrapes(targets).to_string())?;
    let mut command = Command::new(&parts.prometheus);
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .args(["--web.listen-address=127.0.0.1:9090", "--log.level=warn"])
        // An alert that found no Alertmanager is told again a minute later otherwise.
        .arg("--rules.alert.resend-delay=2s");
    begin("prometheus", &command, (folder, PROMETHEUS)).await
}

/// JSON is YAML, too.
fn scrapes(targets: &Path) -> Value {
    let job = |name: &str, path: &str| {
        let files = [targets.join(format!("{name}.json"))];
        json!({ "job_name": name, "metrics_path": path, "file_sd_configs": [{ "files": files, "refresh_interval": "1s" }] })
    };
    json!({
        "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
        "rule_files": ["rules.yml"],
        "alerting": { "alertmanagers": [{ "static_configs": [{ "targets": ["127.0.0.1:9093"] }] }] },
        "scrape_configs": [job("envoy-stats", "/stats/prometheus"), job("istiod", "/metrics")],
    })
}

/// Starts Alertmanager; all alerts go to this webhook at once.
pub(crate) async fn alertmanager(
    (parts, folder): (&Parts, &Path),
    (url, token_file): (&str, &Path),
) -> anyhow::Result<Arc<Component>> {
    std::fs::create_dir_all(folder)?;
    let config = folder.join("alertmanager.yml");
    let webhook = json!({
        "url": url, "send_resolved": true,
        "http_config": { "authorization": { "type": "Bearer", "credentials_file": token_file } },
    });
    let text = json!({
        "route": {
            "receiver": "meshmend", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s",
            "repeat_interval": "1m",
        },
        "receivers": [{ "name": "meshmend", "webhook_configs": [webhook] }],
    });
    std::fs::write(&config, text.to_string())?;
    // Its template has to lie at /usr/share, where nothing was installed: it alone sees the fetched one there.
    let script = "mount --bind \"$0\" /usr/share && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .arg(&parts.share)
        .arg(&parts.alertmanager)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", folder.join("data").display()))
        .args(["--web.listen-address=127.0.0.1:9093", "--cluster.listen-address=", "--log.level=warn"]);
    begin("alertmanager", &command, (folder, ALERTMANAGER)).await
}

async fn begin(
    name: &'static str,
    command: &Command,
    (folder, url): (&Path, &str),
) -> anyhow::Result<Arc<Component>> {
    let component = Component::start_as(name, command, &folder.join(format!("{name}.log")))?;
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
    until(&format!("{name} is ready"), READY, async || {
        component.alive()?;
        let answer = http.get(format!("{url}/-/ready")).send().await;
        Ok(answer.is_ok_and(|answer| answer.status() == 200).then_some(()))
    })
    .await?;
    Ok(Arc::new(component))
}
