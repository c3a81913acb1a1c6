//! The load: bodies of Alertmanager's webhook, sent over connections that stay open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::agent::TOKEN;
use crate::sink::request_end;

/// A notification with so many alerts, each of them new.
pub(crate) fn body(first: usize, alerts: usize) -> Vec<u8> {
    let alert = |number: usize| -> Value {
        json!({
            "status": "firing",
            "labels": {
                "alertname": "KubePodCrashLooping", "namespace": format!("team-{:03}", number % 500),
                "pod": format!("checkout-{number:07}-x2x9f"), "container": "checkout",
                "severity": "warning", "prometheus": "monitoring/k8s", "job": "kube-state-metrics",
            },
            "annotations": { "summary": "Pod is crash looping.", "runbook_url": "https://runbooks.example.com/x" },
            "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example.com/graph", "fingerprint": format!("{number:016x}"),
        })
    };
    let alerts: Vec<Value> = (first..first + alerts).map(alert).collect();
    let all = json!({
        "version": "4", "groupKey": "{}:{alertname=\"KubePodCrashLooping\"}", "truncatedAlerts": 0,
        "status": "firing", "receiver": "meshmend", "groupLabels": {}, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": "http://alertmanager.example.com", "alerts": alerts,
    });
    all.to_string().into_bytes()
}

#[derive(Deserialize)]
struct Taken {
    incidents: Vec<String>,
}

/// A connection to the agent's API.
pub(crate) struct Sender {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
}

impl Sender {
    pub(crate) async fn connect(host: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host).await.with_context(|| format!("nobody answers at {host}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host: host.to_owned(), buffer: Vec::new() })
    }

    /// Posts a body; the incidents that it led to, durable by then.
    pub(crate) async fn post(&mut self, body: &[u8]) -> anyhow::Result<Vec<String>> {
        let head = format!(
            "POST /v1/alerts/alertmanager HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await?;
        let (head, all) = loop {
            if let Some(found) = request_end(&self.buffer) {
                break found;
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the agent closed the connection");
            }
        };
        let status = String::from_utf8_lossy(&self.buffer[..head.min(15)]).into_owned();
        let answer = self.buffer[head..all].to_vec();
        self.buffer.drain(..all);
        if !status.starts_with("HTTP/1.1 200") {
            bail!("{status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(serde_json::from_slice::<Taken>(&answer)?.incidents)
    }
}

/// Sends all bodies as fast as they are answered, over so many connections.
pub(crate) async fn flood(host: &str, bodies: Vec<Vec<u8>>, connections: usize) -> anyhow::Result<()> {
    let bodies = Arc::new(bodies);
    let next = Arc::new(AtomicUsize::new(0));
    let mut running = Vec::new();
    for _ in 0..connections {
        let mut sender = Sender::connect(host).await?;
        let (bodies, next) = (Arc::clone(&bodies), Arc::clone(&next));
        running.push(tokio::spawn(async move {
            while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                sender.post(body).await?;
            }
            anyhow::Ok(())
        }));
    }
    for sender in running {
        sender.await??;
    }
    Ok(())
}

/// One alert of the open loop.
pub(crate) struct Sent {
    /// When it was to be sent, whatever came before.
    pub(crate) due: Instant,
    /// When its intent was durable.
    pub(crate) answered: Instant,
    /// Its incident.
    pub(crate) incident: String,
}

/// Sends single alerts at a fixed rate. Each is due at its time, however late the one before is answered:
/// who waits for answers measures only how fast it waits.
pub(crate) async fn paced(
    host: &str,
    a_second: u32,
    alerts: usize,
    first: usize,
) -> anyhow::Result<Vec<Sent>> {
    let (idle, mut free) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..64 {
        idle.send(Sender::connect(host).await?).ok();
    }
    let start = Instant::now() + Duration::from_millis(20);
    let gap = Duration::from_secs(1) / a_second;
    let mut running = Vec::with_capacity(alerts);
    for number in 0..alerts {
        let due = start + gap * u32::try_from(number)?;
        let body = body(first + number, 1);
        tokio::time::sleep_until(due).await;
        let mut sender = free.recv().await.context("no connection is left")?;
        let idle = idle.clone();
        running.push(tokio::spawn(async move {
            let incidents = sender.post(&body).await?;
            let answered = Instant::now();
            idle.send(sender).ok();
            let incident = incidents.into_iter().next().context("an alert leads to an incident")?;
            anyhow::Ok(Sent { due, answered, incident })
        }));
    }
    let mut sent = Vec::with_capacity(alerts);
    for task in running {
        sent.push(task.await??);
    }
    Ok(sent)
}
