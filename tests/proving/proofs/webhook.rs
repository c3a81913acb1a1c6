//! istiod's validating webhook is down when a shed expires: the API server refuses every write of a routing object
//! until it is there again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::extract::State;
use axum::http::header::CONNECTION;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use k8s_openapi::ByteString;
use meshmend::model::mark::RESTORE;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

use super::busy::{self, BUSY};
use super::routing::{self, SHOP, object};
use crate::ground::{Duty, Ground, SOON, Workload};
use crate::wait::{same, until};

const RULE: (&str, &str, &str, &str) = (SHOP, "networking.istio.io/v1", "DestinationRule", "busy");

/// Limits that nobody notices, for as short as they may last: this is about their end.
const SHED: &str = r#"//! Shed.
fn about() {
    #{
        on: [symptom("traffic.overload")],
        needs: ["destination_rule"],
        recover: #{ indicator: "traffic.success_rate", soak: "3s", within: "30s", hold: "6s" },
    }
}
fn applies() { this.subject.kind == "Service" }
fn plan(facts) { [shed_load(facts.destination_rule, #{ max_requests: 60, max_pending: 60, expires: "80s" })] }
fn next(history) { escalate("once is enough") }
"#;

/// More than two pods serve.
const TOO_MANY: u32 = 46;
/// Waits build up, and the overload has to last for twenty seconds.
const OVERLOADED: Duration = Duration::from_secs(150);
/// From the act on: its expiry, two tries in vain, and people are told.
const TOLD: Duration = Duration::from_secs(80 + 60 + 60);
/// The longest pause between two tries, and one that succeeds.
const AGAIN: Duration = Duration::from_secs(300 + 30);

/// The webhook as the chart of Istio registers it, at an address of ours.
struct Webhook {
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    asked: Arc<AtomicUsize>,
    serving: Option<JoinHandle<io::Result<()>>>,
}

/// TLS before HTTP.
struct Guarded(TcpListener, TlsAcceptor);

impl axum::serve::Listener for Guarded {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, from)) = self.0.accept().await
                && let Ok(stream) = self.1.accept(stream).await
            {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// All is well; no connection is kept, so that one that is down answers nobody.
async fn review(State(asked): State<Arc<AtomicUsize>>, Json(review): Json<Value>) -> impl IntoResponse {
    asked.fetch_add(1, Ordering::Relaxed);
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": { "uid": review["request"]["uid"], "allowed": true },
    });
    ([(CONNECTION, "close")], Json(answer))
}

impl Webhook {
    /// Starts it, and registers it with the API server.
    async fn register(ground: &Ground) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|why| anyhow::anyhow!("the key: {why}"))?;
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let mut webhook = Self { address, tls: Arc::new(tls), asked: Arc::default(), serving: None };
        webhook.up().await?;
        ground
            .apply_object(json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                "metadata": { "name": "istio-validator-istio-system" },
                "webhooks": [{
                    "name": "validation.istio.io", "failurePolicy": "Fail", "sideEffects": "None",
                    "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
                    "clientConfig": {
                        "url": format!("https://{address}/validate"),
                        "caBundle": ByteString(made.cert.pem().into_bytes()),
                    },
                    "rules": [{
                        "apiGroups": ["networking.istio.io"], "apiVersions": ["*"],
                        "operations": ["CREATE", "UPDATE"], "resources": ["*"],
                    }],
                }],
            }))
            .await?;
        Ok(webhook)
    }

    async fn up(&mut self) -> anyhow::Result<()> {
        let router = Router::new().route("/validate", post(review)).with_state(Arc::clone(&self.asked));
        let listener =
            Guarded(TcpListener::bind(self.address).await?, TlsAcceptor::from(Arc::clone(&self.tls)));
        self.serving = Some(tokio::spawn(async move { axum::serve(listener, router).await }));
        Ok(())
    }

    async fn down(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            serving.await.ok();
        }
    }
}

async fn stage(ground: &Ground) -> anyhow::Result<()> {
    ground.istiod().await?;
    let client = Workload::new(SHOP, "client", "v1", 1);
    ground.deploy(&client).await?;
    let busy = busy::deploy(ground, "3s").await?;
    let pool = json!({ "connectionPool": { "tcp": { "connectTimeout": "3s" } } });
    ground.apply_object(object(RULE, &json!({ "host": "busy", "trafficPolicy": pool }))).await?;
    for workload in [&busy, &client] {
        ground.ready(SHOP, &workload.name()).await?;
    }
    ground.prometheus(&json!([])).await.map(|_| ())
}

/// The rule keeps its limits for as long as the API server refuses, people are told, and once the webhook is there
/// again the limits are taken back exactly.
///
/// Mutations that break it: an undo that is given up after three tries; a pause that grows beyond five minutes; a
/// refusal of a webhook taken for one of the object.
pub(crate) async fn waits_for_it(ground: &Ground) -> anyhow::Result<()> {
    stage(ground).await?;
    let playbooks = [("shed", SHED.to_owned())];
    let policy = routing::POLICY;
    let duty = Duty { namespace: SHOP, playbooks: &playbooks, policy, sources: "", server: None };
    let home = ground.agent(&duty).await?;
    let mut webhook = Webhook::register(ground).await?;
    until("the API server asks the webhook", SOON, async || {
        ground.change(RULE, &json!({ "metadata": { "annotations": { "example.com/seen": "yes" } } })).await?;
        ground.change(RULE, &json!({ "metadata": { "annotations": { "example.com/seen": null } } })).await?;
        Ok((webhook.asked.load(Ordering::Relaxed) > 0).then_some(()))
    })
    .await?;
    let before = ground.read(RULE).await?;
    let agent = home.start_ready().await?;
    let load = ground.load((SHOP, "app=client"), BUSY, TOO_MANY).await?;
    let found = agent.incident_about(("traffic.overload", SHOP, "busy"), OVERLOADED).await?;
    let id = found["id"].as_str().context("an incident has an id")?.to_owned();
    until("load is shed", SOON, async || Ok(mark(&ground.read(RULE).await?).then_some(()))).await?;
    webhook.down().await;
    load.stop().await?;
    let refused = ground.change(RULE, &json!({ "metadata": { "labels": { "a": "b" } } })).await;
    let words = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(words.contains("failed calling webhook \"validation.istio.io\""), "it is down: {words}");

    until("people are told that it is overdue", TOLD, async || {
        let case = agent.incident(&id).await?;
        let mut reasons = case["reasons"].as_array().into_iter().flatten();
        Ok(reasons.any(|timed| timed["reason"]["code"] == "still_owed").then_some(()))
    })
    .await?;
    ensure!(mark(&ground.read(RULE).await?), "nobody could write");
    webhook.up().await?;
    let after = until("the limits are taken back", AGAIN, async || {
        let rule = ground.read(RULE).await?;
        Ok((!mark(&rule)).then_some(rule))
    })
    .await?;
    same("the spec, byte for byte", &after["spec"].to_string(), &before["spec"].to_string())?;
    let ended = until("its case ends", SOON, async || {
        let case = agent.incident(&id).await?;
        let over = case["phase"] == "resolved" || case["phase"] == "escalated";
        Ok(over.then_some(case))
    })
    .await?;
    ensure!(ended.get("undo_tries").is_none(), "nothing is owed any more: {ended}");
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// Whether the rule bears our mark.
fn mark(rule: &Value) -> bool {
    rule["metadata"]["annotations"][RESTORE].is_string()
}
