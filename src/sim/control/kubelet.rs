//! Scheduler and kubelets in one: pods get a node and an address, start, restart their proxies, and go.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pods::{Pod, Run};
use super::{Control, hash, keys, leaves, status, text};
use crate::sim::store::{Key, Parting, Store};

const BY: &str = "kubelet";
/// Seconds until the containers of a new pod run.
const START_S: i64 = 3;
/// Seconds until a pod that was told to go is gone.
const STOP_S: i64 = 2;
/// Seconds between the end of a container and its next start.
pub(super) const RESTART_S: i64 = 2;

pub(super) fn run(control: &mut Control, store: &mut Store, at: Timestamp) {
    let second = at.as_second();
    let pods = keys(store, "pods");
    control.pods.retain(|(namespace, name), _| pods.iter().any(|key| key.1 == *namespace && key.2 == *name));
    for key in pods {
        let Some(object) = store.get(&key).cloned() else { continue };
        bind(control, store, &key, &object, at);
        let Some(mut pod) = control.pods.remove(&(key.1.clone(), key.2.clone())) else { continue };
        if leaves(&object) && pod.stops.is_none() {
            pod.stops = Some(second + STOP_S);
            super::event(store, &key, ("Killing", "Stopping container istio-proxy"), at);
        }
        if pod.stops.is_some_and(|stops| stops <= second) {
            store.delete(&key, at, Parting { grace: Some(0), ..Parting::default() }).ok();
            continue;
        }
        let down = control.faults.istiod_down;
        advance(&mut pod, &key, Look { store, object: &object, istiod_down: down, at });
        let runs = pod.proxy_runs();
        if let Some(proxy) = &mut pod.proxy
            && runs
            && !down
            && !control.faults.withheld
            && !proxy_waits(proxy)
        {
            proxy.configured = true;
            proxy.acked = control.push;
        }
        settle(&mut pod, &key, store, at);
        for wake in wakes(&pod, second) {
            control.again(wake);
        }
        control.pods.insert((key.1.clone(), key.2.clone()), pod);
    }
}

/// A proxy that has its configuration, hangs, or rejects what it would get, takes none.
fn proxy_waits(proxy: &super::Proxy) -> bool {
    proxy.configured || proxy.hung.is_some() || proxy.rejected
}

/// Gives a new pod a node and an address.
fn bind(control: &mut Control, store: &mut Store, key: &Key, object: &Value, at: Timestamp) {
    let place = (key.1.clone(), key.2.clone());
    let uid = text(object, "/metadata/uid");
    if control.pods.get(&place).is_some_and(|pod| pod.uid == uid) {
        return;
    }
    control.given += 1;
    let number = control.given;
    let nodes = keys(store, "nodes");
    if text(object, "/spec/nodeName").is_empty()
        && let Some(node) = nodes.get(usize::try_from(number).unwrap_or(0) % nodes.len().max(1))
    {
        store.edit(key, &json!({ "spec": { "nodeName": node.2 } }), "kube-scheduler", at);
        let told = format!("Successfully assigned {}/{} to {}", key.1, key.2, node.2);
        super::event(store, key, ("Scheduled", &told), at);
    }
    let second = at.as_second();
    // One second more or less, so that pods do not all start at once.
    let starts = second + control.start_s(key) + i64::try_from(hash(control.seed, &key.2) % 2).unwrap_or(0);
    let address = format!("10.244.{}.{}", 1 + number / 250, 1 + number % 250);
    control.pods.insert(place, Pod::of(object, address, second, starts));
}

/// What a pod is looked at with.
struct Look<'l> {
    store: &'l mut Store,
    object: &'l Value,
    istiod_down: bool,
    at: Timestamp,
}

/// Starts and restarts containers whose time has come.
fn advance(pod: &mut Pod, key: &Key, look: Look<'_>) {
    let second = look.at.as_second();
    let starts = pod.starts;
    let istiod = look.object.pointer("/metadata/labels/app").is_some_and(|app| app == "istiod");
    for container in &mut pod.containers {
        let before = container.run;
        container.run = match before {
            Run::Waiting if starts <= second => Run::Running(second),
            Run::Ended { again: Some(again), .. } if again <= second => {
                container.restarts += 1;
                Run::Running(second)
            }
            Run::Running(_) if istiod && look.istiod_down => {
                container.restarts += 1;
                Run::Crashing { at: second, until: None }
            }
            Run::Crashing { until: Some(until), .. } if until <= second => Run::Running(second),
            Run::Crashing { until: None, .. } if !look.istiod_down => Run::Running(second),
            same @ (Run::Waiting | Run::Running(_) | Run::Ended { .. } | Run::Crashing { .. }) => same,
        };
        if before != container.run && container.running() {
            let told = format!("Started container {}", container.name);
            super::event(look.store, key, ("Started", &told), look.at);
        }
        if matches!(container.run, Run::Crashing { .. }) && before != container.run {
            let told = format!("Back-off restarting failed container {}", container.name);
            super::event(look.store, key, ("BackOff", &told), look.at);
        }
    }
}

/// Writes the status if it is another than the one written last.
fn settle(pod: &mut Pod, key: &Key, store: &mut Store, at: Timestamp) {
    let second = at.as_second();
    let ready = pod.started() && pod.containers.iter().all(|container| pod.passes(container, second));
    if ready != pod.ready.0 {
        pod.ready = (ready, second);
        if !ready {
            super::event(store, key, ("Unhealthy", "Readiness probe failed"), at);
        }
    }
    let status = status::of(pod, second);
    if status != pod.reported {
        store.report(key, &status, BY, at);
        pod.reported = status;
    }
}

/// The seconds in which something happens to a pod by itself.
fn wakes(pod: &Pod, second: i64) -> Vec<i64> {
    let mut wakes = vec![pod.starts];
    wakes.extend(pod.stops);
    for container in &pod.containers {
        if let Run::Ended { again: Some(again), .. } | Run::Crashing { until: Some(again), .. } =
            container.run
        {
            wakes.push(again);
        }
    }
    wakes.extend(pod.proxy.and_then(|proxy| proxy.hung).map(|since| since + super::pods::MISSES_S));
    wakes.retain(|wake| *wake > second);
    wakes
}

impl Control {
    /// Seconds until the containers of a new pod run.
    fn start_s(&self, pod: &Key) -> i64 {
        let slow = self.faults.slow.iter().filter(|((namespace, beginning), _)| {
            *namespace == pod.1 && pod.2.starts_with(beginning.as_str())
        });
        // The longest beginning says it.
        slow.max_by_key(|((_, beginning), _)| beginning.len()).map_or(START_S, |(_, seconds)| *seconds)
    }

    /// The agent of a proxy was told to quit: its container ends, and starts again if it may.
    pub(in crate::sim) fn quit(&mut self, namespace: &str, name: &str, second: i64) {
        let stubborn = self.faults.stubborn;
        let Some(pod) = self.pods.get_mut(&(namespace.to_owned(), name.to_owned())) else { return };
        let always = pod.restart_policy == "Always";
        let Some(container) = pod.proxy_container_mut().filter(|container| container.running()) else {
            return;
        };
        let again = (container.native || always).then_some(second + RESTART_S);
        container.run = Run::Ended { at: second, again };
        self.lives += 1;
        if let Some(proxy) = &mut pod.proxy {
            let hung = proxy.hung.filter(|_| stubborn).map(|_| second + RESTART_S);
            *proxy = super::Proxy { hung, rejected: proxy.rejected, ..super::Proxy::new() };
            // A proxy that hangs again had its configuration before it did.
            proxy.configured = hung.is_some();
        }
        self.again(second + 1);
    }
}
