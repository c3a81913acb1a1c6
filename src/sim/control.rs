//! The controllers and kubelets of the simulation: they bring the cluster to what its objects ask for,
//! second by second, and rest while nothing changes.

mod budgets;
mod certificates;
mod endpoints;
mod events;
mod garbage;
mod kubelet;
mod pods;
mod rollout;
mod sets;
mod status;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::kinds::key;
use super::store::{Key, Store};

pub(super) use budgets::room;
pub(super) use events::event;
pub(super) use pods::{Container, Pod, Proxy, Run};

/// What the controllers remember between two looks.
pub(super) struct Control {
    pub(super) seed: u64,
    /// The second up to which they have looked.
    looked: i64,
    /// The version they last saw, and the second in which they want to look again.
    seen: u64,
    due: Option<i64>,
    /// Pods that run, by namespace and name.
    pub(super) pods: BTreeMap<(String, String), Pod>,
    /// Names and addresses that were given.
    given: u64,
    /// What was last written of endpoints: people who change them afterwards are left alone.
    slices: BTreeMap<Key, Value>,
    pub(super) faults: Faults,
    /// Grows whenever a pod may live otherwise than before.
    pub(super) lives: u64,
    /// The last push of configuration to the proxies.
    pub(super) push: Push,
}

/// What is broken on purpose.
#[derive(Default)]
pub(super) struct Faults {
    /// No istiod gets ready.
    pub(super) istiod_down: bool,
    /// Istiod is ready and gives no configuration to proxies that have none.
    pub(super) withheld: bool,
    /// Pods that take longer to start: namespace and beginning of their name, and the seconds.
    pub(super) slow: BTreeMap<(String, String), i64>,
    /// Acts do not help: a hung proxy hangs again after its restart, a route's errors stay.
    pub(super) stubborn: bool,
    /// A route that was rolled back stays bad.
    pub(super) stubborn_route: bool,
    /// Certificates that cert-manager does not renew by itself.
    pub(super) forgotten: Vec<Key>,
    /// The service that is called too often, how often, and the second when that ends.
    pub(super) rush: Option<(String, f64, i64)>,
}

/// A push of configuration: its number and its second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Push {
    pub(super) number: u64,
    pub(super) at: i64,
}

impl Control {
    pub(super) fn new(seed: u64, at: Timestamp) -> Self {
        Self {
            seed,
            looked: at.as_second(),
            seen: 0,
            due: None,
            pods: BTreeMap::new(),
            given: 0,
            slices: BTreeMap::new(),
            faults: Faults::default(),
            lives: 0,
            push: Push { number: 1, at: at.as_second() },
        }
    }

    /// The second in which there is something to do.
    pub(super) fn next(&self, store: &Store) -> Option<i64> {
        if self.seen == store.version() { self.due } else { Some(self.looked + 1) }
    }

    /// Wants to look again in this second, whatever changes.
    pub(super) fn wake(&mut self, second: i64) {
        self.again(second);
    }

    /// Looks at one more second.
    pub(super) fn step(&mut self, store: &mut Store, second: i64) {
        self.looked = second;
        let due = self.due.is_some_and(|due| due <= second);
        if self.seen == store.version() && !due {
            return;
        }
        self.push_news(store, second);
        self.seen = store.version();
        if due {
            self.due = None;
        }
        let at = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        garbage::collect(store, at);
        rollout::deployments(store, at);
        sets::replica_sets(self, store, at);
        sets::stateful_sets(self, store, at);
        sets::daemon_sets(self, store, at);
        kubelet::run(self, store, at);
        self.lives += 1;
        endpoints::follow(self, store, at);
        budgets::count(store, at);
        certificates::keep(self, store, at);
    }

    /// Configuration is pushed when routes, rules or endpoints have changed.
    fn push_news(&mut self, store: &Store, second: i64) {
        let news = ["virtualservices", "destinationrules", "gateways", "sidecars", "endpointslices"];
        let since = |plural: &str| store.since(self.seen, plural, None).is_none_or(|list| !list.is_empty());
        if news.into_iter().any(since) && !self.faults.istiod_down {
            self.push = Push { number: self.push.number + 1, at: second };
            let acked = self.push;
            for proxy in self.pods.values_mut().filter_map(|pod| pod.proxy.as_mut()) {
                if proxy.answers() && !proxy.rejected {
                    proxy.acked = acked;
                }
            }
        }
    }

    /// Wants to be asked again in this second.
    fn again(&mut self, second: i64) {
        self.due = Some(self.due.map_or(second, |due| due.min(second)));
    }

    /// A short word that was never given before and follows from the seed.
    fn word(&mut self, of: &str) -> String {
        self.given += 1;
        letters(hash(self.seed ^ self.given.wrapping_mul(0x9E37_79B9_7F4A_7C15), of), 5)
    }

    pub(super) fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.pods.get(&(namespace.to_owned(), name.to_owned()))
    }
}

/// A hash that stays the same on every machine.
pub(super) fn hash(seed: u64, text: &str) -> u64 {
    let mut x = seed ^ 0xCBF2_9CE4_8422_2325;
    for byte in text.bytes() {
        x = (x ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    }
    x ^= x >> 31;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^ (x >> 29)
}

/// The letters that Kubernetes makes names of.
pub(super) fn letters(mut number: u64, count: usize) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut out = String::new();
    for _ in 0..count {
        let at = usize::try_from(number % 27).unwrap_or(0);
        out.push(char::from(LETTERS[at]));
        number /= 27;
    }
    out
}

/// Text at a pointer; empty when there is none.
pub(super) fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A whole number at a pointer.
pub(super) fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// The name of the controlling owner of this kind, with its uid.
pub(super) fn owner<'v>(object: &'v Value, kind: &str) -> Option<(&'v str, &'v str)> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array)?;
    let owner = owners.iter().find(|owner| owner["kind"] == kind && owner["controller"] == true)?;
    Some((text(owner, "/name"), text(owner, "/uid")))
}

/// A reference to a controlling owner.
fn owned_by(owner: &Value) -> Value {
    serde_json::json!([{
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    }])
}

/// Whether a pod's condition `Ready` is true and it is not about to go.
pub(super) fn ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
    ready && !leaves(pod)
}

/// Whether an object is about to go.
pub(super) fn leaves(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

/// Whether a selector of a built-in kind matches labels; an empty one matches all, an absent one none.
pub(super) fn selects(selector: Option<&Value>, object: &Value) -> bool {
    let Some(selector) = selector else { return false };
    let label = |key: &str| object.pointer("/metadata/labels").and_then(|labels| labels.get(key));
    let equal = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let mut equal = equal.map(|(key, value)| label(key) == Some(value));
    let terms = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    let mut terms = terms.map(|term| {
        let found = label(text(term, "/key"));
        let named = term["values"].as_array().is_some_and(|values| found.is_some_and(|f| values.contains(f)));
        match text(term, "/operator") {
            "In" => named,
            "NotIn" => !named,
            "Exists" => found.is_some(),
            "DoesNotExist" => found.is_none(),
            _ => false,
        }
    });
    equal.all(|fits| fits) && terms.all(|fits| fits)
}

/// The keys of all objects of a plural.
fn keys(store: &Store, plural: &str) -> Vec<Key> {
    store.entries(plural, None).map(|(key, _)| key.clone()).collect()
}

/// The key of an object beside another.
fn beside(plural: &str, of: &Key, name: &str) -> Key {
    key(plural, &of.1, name)
}
