//! What listens inside of pods: the agent and the admin port of a proxy, and istiod's debug port.

mod counted;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::State;
use super::control::{Pod, Proxy, Push, hash};

/// A request to a port of a pod.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) port: u16,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
}

type Answer = Option<(u16, String)>;

fn say(code: u16, text: &str) -> Answer {
    Some((code, text.to_owned()))
}

fn refused() -> Answer {
    say(0, "connection refused")
}

pub(super) fn answer(
    state: &mut State,
    (namespace, name): (&str, &str),
    asked: Asked<'_>,
    now: i64,
) -> Answer {
    let Some(pod) = state.control.pod(namespace, name) else {
        return say(0, "no such pod");
    };
    if name.starts_with("istiod-") && namespace == "istio-system" {
        return match asked.port {
            8080 | 15014 if pod.containers.iter().all(super::control::Container::running) => {
                control_plane(state, name, asked)
            }
            _ => refused(),
        };
    }
    let Some(proxy) = pod.proxy.filter(|_| pod.proxy_runs()) else { return refused() };
    match asked.port {
        15020 => agent(state, (namespace, name), asked, proxy, now),
        15021 if proxy.hung.is_some() => None,
        15021 if asked.path == "/healthz/ready" => healthy(proxy),
        15000 if proxy.hung.is_some() => None,
        15000 if asked.path.starts_with("/clusters") => say(200, &counted::clusters(state, name).to_string()),
        15000 => admin(pod, name, asked, proxy, now),
        15021 => say(404, "Not Found"),
        _ => refused(),
    }
}

fn healthy(proxy: Proxy) -> Answer {
    if proxy.configured && !proxy.draining { say(200, "") } else { say(503, "") }
}

/// The agent is a process of its own: it answers also where its proxy does not.
fn agent(
    state: &mut State,
    (namespace, name): (&str, &str),
    asked: Asked<'_>,
    proxy: Proxy,
    now: i64,
) -> Answer {
    match (asked.path, asked.method) {
        ("/healthz/ready", "GET") if proxy.hung.is_some() => None,
        ("/healthz/ready", "GET") => healthy(proxy),
        ("/drain", "POST") => {
            let pod = state.control.pods.get_mut(&(namespace.to_owned(), name.to_owned()));
            if let Some(proxy) = pod.and_then(|pod| pod.proxy.as_mut()) {
                proxy.draining = true;
            }
            state.control.lives += 1;
            state.control.wake(now + 1);
            say(200, "OK")
        }
        ("/quitquitquit", "POST") => {
            state.control.quit(namespace, name, now);
            say(200, "OK")
        }
        // Istio's metrics live in Envoy: where that does not answer they are not there.
        ("/stats/prometheus", "GET") if proxy.hung.is_some() => say(200, "# the proxy does not answer\n"),
        ("/stats/prometheus", "GET") => say(200, &counted::page(state, name)),
        ("/drain" | "/quitquitquit" | "/healthz/ready", _) => say(405, "Method Not Allowed\n"),
        _ => say(404, "404 page not found\n"),
    }
}

fn admin(pod: &Pod, name: &str, asked: Asked<'_>, proxy: Proxy, now: i64) -> Answer {
    let state = match (proxy.draining, proxy.configured) {
        (true, _) => "DRAINING",
        (false, true) => "LIVE",
        (false, false) => "PRE_INITIALIZING",
    };
    match asked.path.split('?').next().unwrap_or_default() {
        // No traffic of this world is encrypted.
        "/certs" => say(200, &json!({ "certificates": [] }).to_string()),
        "/config_dump" if proxy.configured => say(200, &listeners(proxy).to_string()),
        "/config_dump" => say(200, "{}"),
        "/stats" => say(200, &stats(proxy).to_string()),
        "/ready" => say(if state == "LIVE" { 200 } else { 503 }, &format!("{state}\n")),
        "/server_info" => {
            let since = match pod.proxy_container().map(|container| container.run) {
                Some(super::control::Run::Running(since)) => since,
                Some(_) | None => now,
            };
            let up = format!("{}s", now - since);
            let node = json!({ "id": format!("sidecar~{}~{name}", pod.address), "metadata": { "ISTIO_VERSION": VERSION } });
            let info = json!({
                "version": "6eb0d2d97489ec1b4e1584a004f5de443d97a41b/1.39.3/Clean/RELEASE/BoringSSL", "state": state,
                "uptime_current_epoch": up, "uptime_all_epochs": up, "hot_restart_version": "disabled", "node": node,
            });
            say(200, &info.to_string())
        }
        _ => say(404, "invalid path. admin commands are:\n"),
    }
}

/// The listeners that an Envoy has and was sent, as far as it keeps errors of them.
fn listeners(proxy: Proxy) -> Value {
    let kind = "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener";
    let mut listener = json!({ "@type": kind, "name": "0.0.0.0_8080" });
    if proxy.rejected {
        listener["error_state"] = json!({ "details": REJECTION });
    }
    json!({ "configs": [listener] })
}

/// What the default statsMatcher of Istio leaves of what is asked for.
fn stats(proxy: Proxy) -> Value {
    json!({ "stats": [
        { "name": "cluster_manager.cds.update_rejected", "value": 0 },
        { "name": "listener_manager.lds.update_rejected", "value": u8::from(proxy.rejected) },
    ] })
}

/// A few of istiod's metrics.
fn metrics(proxies: usize) -> String {
    format!(
        "# TYPE istio_build gauge\nistio_build{{component=\"pilot\",tag=\"{VERSION}\"}} 1\n\
         # TYPE pilot_xds gauge\npilot_xds{{version=\"{VERSION}\"}} {proxies}\n"
    )
}

const VERSION: &str = "1.31.0";

fn control_plane(state: &State, replica: &str, asked: Asked<'_>) -> Answer {
    match asked.path {
        "/ready" => say(200, ""),
        "/version" => say(200, &format!("{VERSION}-unknown-unknown")),
        "/metrics" => say(200, &metrics(connected(state, replica).len())),
        "/debug/adsz" => {
            let proxies = connected(state, replica);
            let client = |(number, proxy): (usize, &Value)| {
                let name = proxy["proxy"].as_str().unwrap_or_default();
                let type_ = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
                // Nobody counts here when a proxy connected: with the push it has.
                let at = &proxy["resources"][type_]["sentTime"];
                json!({ "connectionId": format!("{name}-{}", number + 1), "connectedAt": at, "watches": {} })
            };
            let clients: Vec<Value> = proxies.iter().enumerate().map(client).collect();
            say(200, &json!({ "totalClients": clients.len(), "clients": clients }).to_string())
        }
        "/debug/syncz" => say(200, &Value::Array(connected(state, replica)).to_string()),
        _ => say(404, "404 page not found\n"),
    }
}

/// The proxies that talk to this replica: each talks to one of those that are ready.
fn connected(state: &State, replica: &str) -> Vec<Value> {
    let pods = &state.control.pods;
    let ready = pods
        .iter()
        .filter(|((ns, name), pod)| ns == "istio-system" && name.starts_with("istiod-") && pod.ready.0);
    let replicas: Vec<&str> = ready.map(|((_, name), _)| name.as_str()).collect();
    let chosen = |name: &str| {
        let at = hash(0, name).checked_rem(u64::try_from(replicas.len()).ok()?)?;
        replicas.get(usize::try_from(at).ok()?).copied()
    };
    let line = |((namespace, name), pod): (&(String, String), &Pod)| {
        let proxy =
            pod.proxy.filter(|proxy| pod.proxy_runs() && (proxy.configured || proxy.hung.is_some()))?;
        (chosen(name) == Some(replica)).then(|| sync(state.control.push, namespace, name, proxy))
    };
    pods.iter().filter_map(line).collect()
}

/// Types of configuration: the short name, and the end of the long one.
const TYPES: [(&str, &str); 4] = [
    ("cluster", "cluster.v3.Cluster"),
    ("listener", "listener.v3.Listener"),
    ("route", "route.v3.RouteConfiguration"),
    ("endpoint", "endpoint.v3.ClusterLoadAssignment"),
];

/// What Envoy says of a listener with a filter it does not know.
const REJECTION: &str = "Error adding/updating listener(s) 0.0.0.0_8080: Didn't find a registered implementation for 'example.unregistered' with type URL: 'example.Unregistered'\n";

fn sync(push: Push, namespace: &str, name: &str, proxy: Proxy) -> Value {
    let time = |second: i64| Timestamp::from_second(second).unwrap_or(Timestamp::MAX).to_string();
    let nonce = |of: Push, kind: &str| {
        let word = hash(of.number, &format!("{name}.{namespace}/{kind}"));
        format!("{}/{}{word:016x}", time(of.at), of.number)
    };
    let mut out = Map::new();
    let role = if name.starts_with("istio-ingressgateway-") { "router" } else { "sidecar" };
    for (field, value) in [
        ("cluster_id", "Kubernetes".to_owned()),
        ("proxy", format!("{name}.{namespace}")),
        ("proxy_type", role.to_owned()),
        ("istio_version", VERSION.to_owned()),
    ] {
        out.insert(field.to_owned(), json!(value));
    }
    let mut resources = Map::new();
    for (short, long) in TYPES {
        // Only the listener is rejected; the rest is taken.
        let acked = if proxy.rejected && short != "listener" { push } else { proxy.acked };
        let (sent, acked) = (nonce(push, short), nonce(acked, short));
        out.insert(format!("{short}_sent"), json!(sent));
        out.insert(format!("{short}_acked"), json!(acked));
        let mut resource = json!({ "sent": sent, "acked": acked, "sentTime": time(push.at) });
        if proxy.rejected && short == "listener" {
            resource["lastError"] = json!(REJECTION);
        }
        resources.insert(format!("type.googleapis.com/envoy.config.{long}"), resource);
    }
    out.insert("resources".to_owned(), Value::Object(resources));
    Value::Object(out)
}
