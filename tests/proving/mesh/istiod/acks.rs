//! What became of what was sent: Envoy's own word, from its admin interface.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::Value;

use super::Plane;
use super::connection::{Connection, Type, Watched};
use super::numbers::Numbers;
use crate::mesh::objects::Mesh;

/// How soon a proxy is asked again that has not settled what it was sent: first so, then twice as long each
/// time, up to the most.
const SOON: Duration = Duration::from_millis(5);
const LESS_SOON: Duration = Duration::from_millis(160);
/// How often it is looked whether one that has settled everything is still there.
const LATER: Duration = Duration::from_millis(500);
/// How often one that does not take connections: it starts, or it is gone.
const NOT_YET: Duration = Duration::from_millis(50);
/// A healthy Envoy answers in milliseconds; a frozen one never.
pub(super) const TIME_LIMIT: Duration = Duration::from_millis(1000);

/// What Envoy says of itself.
#[derive(Default)]
struct Said {
    versions: BTreeMap<Type, String>,
    endpoints: BTreeMap<String, BTreeSet<String>>,
    /// Names of listeners and why Envoy did not take them.
    refused: Vec<String>,
    rejections: BTreeMap<Type, u64>,
}

/// Whether the proxy could be asked.
enum Answer {
    Said(Box<Said>),
    /// It is there, and was not asked for more.
    There,
    Silent,
    Refused,
}

/// Asks one proxy until it is gone or starts anew.
pub(super) async fn ask(plane: Arc<Plane>, client: reqwest::Client, name: (String, String)) {
    let Some(file) = plane.lock().connections.get(&name).map(|known| known.file().clone()) else { return };
    let admin = format!("http://{}", file.admin);
    let mut pushed = plane.pushed.subscribe();
    let (mut settled, mut soon) = (false, SOON);
    loop {
        let answer = if settled { there(&client, &admin).await } else { said(&client, &admin).await };
        let pause = {
            let state = &mut *plane.lock();
            let known = state.connections.get_mut(&name).filter(|known| *known.file() == file);
            let Some(known) = known else { return };
            if !std::mem::replace(&mut known.greeted, true) {
                plane.changed.notify_one();
            }
            for kind in note(known, &answer) {
                state.numbers.rejected(kind, &known.name());
            }
            settled = known.answers && known.types.values().all(Watched::settled);
            soon = if settled { SOON } else { (soon * 2).min(LESS_SOON) };
            match (settled, known.answers) {
                (true, _) => LATER,
                (false, true) => soon,
                (false, false) => NOT_YET,
            }
        };
        if matches!(tokio::time::timeout(pause, pushed.changed()).await, Ok(Ok(()))) {
            (settled, soon) = (false, SOON);
        }
    }
}

/// Puts down an answer; the types that the proxy refused now and had not before.
fn note(known: &mut Connection, answer: &Answer) -> Vec<Type> {
    match answer {
        Answer::Said(said) => {
            known.answers = true;
            take(known, said)
        }
        Answer::There | Answer::Silent => Vec::new(),
        Answer::Refused => {
            known.answers = false;
            Vec::new()
        }
    }
}

fn failed(error: &reqwest::Error) -> Answer {
    if error.is_connect() && !error.is_timeout() { Answer::Refused } else { Answer::Silent }
}

async fn there(client: &reqwest::Client, admin: &str) -> Answer {
    let answer = client.get(format!("{admin}/ready")).send().await;
    answer.map_or_else(|error| failed(&error), |_| Answer::There)
}

async fn said(client: &reqwest::Client, admin: &str) -> Answer {
    let get = async |path: &str| client.get(format!("{admin}{path}")).send().await?.json::<Value>().await;
    let dump = get("/config_dump?include_eds").await;
    let stats = get("/stats?format=json&filter=(update_rejected|version_text)$").await;
    match (dump, stats) {
        (Ok(dump), Ok(stats)) => Answer::Said(Box::new(read(&dump, &stats))),
        (Err(error), _) | (_, Err(error)) => failed(&error),
    }
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

fn read(dump: &Value, stats: &Value) -> Said {
    let mut said = Said::default();
    for part in list(dump, "configs") {
        let kind = part["@type"].as_str().and_then(|url| url.rsplit('.').next()).unwrap_or_default();
        match kind {
            "ListenersConfigDump" => {
                for listener in list(part, "dynamic_listeners").filter(|one| !one["error_state"].is_null()) {
                    let name = listener["name"].as_str().unwrap_or_default();
                    let why = listener["error_state"]["details"].as_str().unwrap_or_default();
                    said.refused.push(format!("{name}: {why}"));
                }
            }
            "EndpointsConfigDump" => {
                for assignment in list(part, "dynamic_endpoint_configs") {
                    let assignment = &assignment["endpoint_config"];
                    let name = assignment["cluster_name"].as_str().unwrap_or_default();
                    said.endpoints.insert(name.to_owned(), addresses(assignment));
                }
            }
            _ => {}
        }
    }
    for stat in list(stats, "stats") {
        let name = stat["name"].as_str().unwrap_or_default();
        let Some((of, figure)) = name.rsplit_once('.') else { continue };
        let kind = match of {
            "cluster_manager.cds" => Type::Cluster,
            "listener_manager.lds" => Type::Listener,
            _ if of.contains(".rds.") => Type::Route,
            _ if of.starts_with("cluster.") => Type::Endpoint,
            _ => continue,
        };
        match (figure, &stat["value"]) {
            ("update_rejected", count) => {
                *said.rejections.entry(kind).or_default() += count.as_u64().unwrap_or_default();
            }
            // What Envoy took last. Its dump names a version only if that changed something.
            (_, Value::String(version)) => {
                said.versions.insert(kind, version.clone());
            }
            _ => {}
        }
    }
    said
}

/// Addresses with their priorities, for comparison: Envoy keeps no version of these.
fn addresses(assignment: &Value) -> BTreeSet<String> {
    let groups = list(assignment, "endpoints");
    groups
        .flat_map(|group| {
            let priority = group["priority"].as_u64().unwrap_or_default();
            list(group, "lb_endpoints").map(move |endpoint| {
                let socket = &endpoint["endpoint"]["address"]["socket_address"];
                format!(
                    "{priority} {}:{}",
                    socket["address"].as_str().unwrap_or_default(),
                    socket["port_value"]
                )
            })
        })
        .collect()
}

/// Puts down what Envoy said; the types that it refused now and had not before.
fn take(connection: &mut Connection, said: &Said) -> Vec<Type> {
    let mut refused = Vec::new();
    for (kind, watched) in &mut connection.types {
        let count = said.rejections.get(kind).copied().unwrap_or_default();
        let more = count > watched.before;
        // Of listeners Envoy takes those that it can, and says which it could not.
        let error = if *kind == Type::Listener {
            let refused = !said.refused.is_empty();
            refused.then(|| format!("Error adding/updating listener(s) {}\n", said.refused.join("\n")))
        } else {
            more.then(|| format!("Envoy counted {} rejected update(s)", count - watched.before))
        };
        let taken = if *kind == Type::Endpoint {
            watched.resources.iter().all(|resource| {
                let name = resource["cluster_name"].as_str().unwrap_or_default();
                said.endpoints.get(name) == Some(&addresses(resource))
            })
        } else {
            said.versions.get(kind) == Some(&watched.sent)
        };
        match error {
            // A refusal of what came before is not one of what was sent since.
            Some(error) if more || watched.error.is_some() => {
                if watched.error.is_none() {
                    refused.push(*kind);
                }
                watched.error = Some(error);
            }
            _ if taken => {
                watched.error = None;
                watched.acked.clone_from(&watched.sent);
            }
            _ => {}
        }
    }
    connection.rejections.clone_from(&said.rejections);
    refused
}

/// The trial of what counts as taken: the version that was sent, and for endpoints the addresses themselves.
// Mutations that make it fail: any version for the one that was sent; refusals counted before it was sent
// taken for new ones; addresses not looked at; a refusal taken for an acknowledgement.
pub(super) fn check() -> anyhow::Result<()> {
    let sent = |version: &str| Watched { sent: version.to_owned(), before: 1, ..Watched::default() };
    let file = serde_json::from_value(serde_json::json!({
        "namespace": "shop", "pod": "a", "ip": "127.0.0.1", "admin": "127.0.0.1:1", "agent": "127.0.0.1:2",
        "labels": {}, "workload": "a", "service_account": "default", "inbound": [], "start": 1,
    }))?;
    let mut connection = Connection::new(file);
    let nowhere = std::path::Path::new("/nonexistent");
    let early = connection.push(nowhere, &Mesh::default(), 1, &mut Numbers::default());
    ensure!(matches!(early, Ok(0)), "nothing is sent before it is known what was refused before");
    let endpoint =
        serde_json::json!({"endpoint": {"address": {"socket_address": {"address": "::1", "port_value": 1}}}});
    let assignment =
        serde_json::json!({"cluster_name": "c", "endpoints": [{"priority": 0, "lb_endpoints": [endpoint]}]});
    connection.types.insert(Type::Cluster, sent("2"));
    connection.types.insert(Type::Endpoint, Watched { resources: vec![assignment], ..sent("2") });
    let versions = |version: &str| BTreeMap::from([(Type::Cluster, version.to_owned())]);
    let empty = BTreeMap::from([("c".to_owned(), BTreeSet::new())]);
    let whole = BTreeMap::from([("c".to_owned(), BTreeSet::from(["0 ::1:1".to_owned()]))]);
    let counted = |count: u64| BTreeMap::from([(Type::Cluster, count)]);
    let mut told = |said: Said| {
        let refused = take(&mut connection, &said);
        let acked = connection.types.values().map(|watched| watched.acked == watched.sent);
        (acked.collect::<Vec<bool>>(), refused)
    };
    let old = Said { versions: versions("1"), endpoints: empty, rejections: counted(1), ..Said::default() };
    ensure!(told(old) == (vec![false, false], vec![]), "what was not taken is not acknowledged");
    let rejections = counted(2);
    let refused = Said { versions: versions("2"), endpoints: whole.clone(), rejections, ..Said::default() };
    ensure!(told(refused) == (vec![false, true], vec![Type::Cluster]), "one refusal more is one of this");
    connection.types.insert(Type::Cluster, Watched { before: 2, ..sent("3") });
    let said = Said { versions: versions("3"), endpoints: whole, rejections: counted(2), ..Said::default() };
    ensure!(take(&mut connection, &said).is_empty(), "an old refusal is none of what was sent since");
    ensure!(connection.types.values().all(|watched| watched.acked == watched.sent), "all of it was taken");
    Ok(())
}
