//! Prometheus dies, hangs, says NaN, or tells of the past, while a route goes bad.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::rounds::{self, Broken, Rounds, passed};
use super::routing;
use crate::agent::{Agent, Home};
use crate::ground::{Ground, SOON};
use crate::monitoring::PROMETHEUS;
use crate::process::Component;
use crate::wait::{same, until};

/// Twice what it takes to see the errors otherwise: ten seconds of them, in a window of five.
const BLIND: Duration = Duration::from_secs(20);

/// What a double in front of the real Prometheus makes of its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tongue {
    /// They go through.
    True,
    /// Every value is NaN.
    Nan,
    /// Every answer is about an hour ago.
    Past,
}

/// The double.
struct Front {
    url: String,
    tongue: Arc<watch::Sender<Tongue>>,
}

impl Front {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let tongue = Arc::new(watch::Sender::new(Tongue::True));
        let http = reqwest::Client::builder().no_proxy().build()?;
        let router = Router::new().fallback(tell).with_state((http, Arc::clone(&tongue)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, tongue })
    }
}

async fn tell(
    State((http, tongue)): State<(reqwest::Client, Arc<watch::Sender<Tongue>>)>,
    uri: Uri,
    body: Bytes,
) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let asked = http
        .post(format!("{PROMETHEUS}{path}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body);
    let told = async {
        let answer = asked.send().await?;
        let status = answer.status();
        Ok::<_, reqwest::Error>((status, answer.json::<Value>().await?))
    };
    match told.await {
        Ok((status, answer)) => {
            let said = twisted(answer, *tongue.borrow());
            (status, [(header::CONTENT_TYPE, "application/json")], said.to_string()).into_response()
        }
        // As without the double: nothing whole comes back.
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

fn twisted(mut answer: Value, tongue: Tongue) -> Value {
    for series in answer.pointer_mut("/data/result").and_then(Value::as_array_mut).into_iter().flatten() {
        match tongue {
            Tongue::True => {}
            Tongue::Nan => series["value"][1] = json!("NaN"),
            Tongue::Past => {
                let at = series["value"][0].as_f64().unwrap_or_default();
                series["value"][0] = json!(at - 3600.0);
            }
        }
    }
    answer
}

/// What happens to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Dies,
    Hangs,
    Says(Tongue),
}

/// The double is in front for the last two only.
const FAULTS: [Story; 4] = [
    ("bad route while Prometheus is dead", Fault::Dies, "error sending request"),
    ("bad route while Prometheus hangs", Fault::Hangs, "operation timed out"),
    ("bad route while Prometheus says NaN", Fault::Says(Tongue::Nan), "which is no count"),
    ("bad route, Prometheus tells of the past", Fault::Says(Tongue::Past), "s off ours"),
];

/// While nothing of Prometheus can be believed, the route goes bad, and somebody else sees it. The agent
/// knows of it, says why it cannot know more, and does nothing, although it has a good revision to go back to;
/// when it can see again, it puts the route right by itself, with one write.
///
/// Mutations that break it: NaN read as zero; no look at the time of an answer; an unreadable fact that ends
/// the incident; a playbook that plans without its facts.
pub(crate) async fn waits(ground: &Ground) -> anyhow::Result<()> {
    routing::stage(ground).await?;
    let front = Front::start().await?;
    let home = rounds::home(ground, None).await?;
    let mut rounds = Rounds::begin(ground).await?;
    let agent = home.start_ready().await?;
    routing::proven(ground, &agent).await?;
    let (alone, through_front) = FAULTS.split_at(2);
    for fault in alone {
        round(&mut rounds, (&agent, &front), fault).await?;
    }
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    asking(&home, &front.url)?;
    let agent = home.start_ready().await?;
    for fault in through_front {
        round(&mut rounds, (&agent, &front), fault).await?;
    }
    let ledger = rounds.load.stop().await?;
    ground.note(&format!("{} of {} requests were bad", ledger.bad(), ledger.count()))?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// Name in the table, what happens, and what the agent says why the traffic is unknown.
type Story = (&'static str, Fault, &'static str);

async fn round(
    rounds: &mut Rounds<'_>,
    (agent, front): (&Agent<'_>, &Front),
    (name, fault, why): &Story,
) -> anyhow::Result<()> {
    let ground = rounds.ground;
    make(ground, front, *fault)?;
    // NaN is told of some host only, so Prometheus as a whole counts as readable.
    if *fault != Fault::Says(Tongue::Nan) {
        until("traffic is unknown", SOON, async || {
            let (_, metrics) = agent.probe("/metrics").await?;
            Ok(metrics.contains("meshmend_up{part=\"prometheus\"} 0").then_some(()))
        })
        .await?;
    }
    let broken = rounds.break_route(agent).await?;
    let id = blind(rounds, agent, (&broken, why)).await?;
    unmake(ground, front, *fault)?;
    rounds.healed(agent, &broken, (&id, name)).await.map(|_| ())
}

/// From its next start on the agent asks the double, and nobody else.
fn asking(home: &Home, url: &str) -> anyhow::Result<()> {
    let path = home.journal().with_file_name("meshmend.yaml");
    let text = std::fs::read_to_string(&path)?;
    ensure!(text.contains(PROMETHEUS), "the configuration names Prometheus: {text}");
    home.put("meshmend.yaml", &text.replace(PROMETHEUS, url))
}

/// It is known and not acted upon; the answer is the incident.
async fn blind(
    rounds: &Rounds<'_>,
    agent: &Agent<'_>,
    (broken, why): (&Broken, &str),
) -> anyhow::Result<String> {
    // It has no figures of its own: nothing is found for longer than it takes otherwise.
    let bad = || {
        let ledger = rounds.load.ledger().within(broken.fault.load..Duration::MAX);
        ledger.bad() > 100
    };
    until("the errors are there", SOON, async || Ok(bad().then_some(()))).await?;
    let id = rounds.alert(agent).await?;
    until("it says why it does not know", SOON, async || {
        let incident = agent.incident(&id).await?;
        Ok(incident.to_string().contains(why).then_some(()))
    })
    .await
    .with_context(|| format!("waiting for {why:?}"))?;
    passed(&rounds.load, broken.fault.load, BLIND).await?;
    let incident = agent.incident(&id).await?;
    ensure!(incident["plan"].is_null(), "nothing is planned: {incident}");
    same("the writes", &rounds.written()?, &Vec::new())?;
    Ok(id)
}

fn component(ground: &Ground) -> anyhow::Result<Arc<Component>> {
    ground.monitor().context("Prometheus was started")
}

fn make(ground: &Ground, front: &Front, fault: Fault) -> anyhow::Result<()> {
    match fault {
        Fault::Dies => component(ground)?.kill(),
        Fault::Hangs => component(ground)?.freeze()?,
        Fault::Says(tongue) => {
            front.tongue.send_replace(tongue);
        }
    }
    Ok(())
}

fn unmake(ground: &Ground, front: &Front, fault: Fault) -> anyhow::Result<()> {
    match fault {
        Fault::Dies => component(ground)?.start(),
        Fault::Hangs => component(ground)?.thaw(),
        Fault::Says(_) => {
            front.tongue.send_replace(Tongue::True);
            Ok(())
        }
    }
}
