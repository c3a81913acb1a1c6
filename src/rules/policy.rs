//! One policy as written, checked.

mod stops;
mod times;

use std::sync::Arc;

use super::glob::Glob;
use super::note::Note;
use super::window::{Freeze, Timetable};
use crate::model::action::Action;
use crate::model::verdict::Mode;
use crate::yaml::{Faults, Node, Value, header};

pub(super) use stops::StormWritten;
pub use stops::{BreakerRule, StormBound};

/// A checked policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `metadata.name`.
    pub name: String,
    /// File it stands in.
    pub file: String,
    pub(super) scope: Scope,
    pub(super) mode: Option<Mode>,
    pub(super) max_mode: Option<Mode>,
    pub(super) limits: Vec<Limit>,
    pub(super) cooldown_s: Option<u64>,
    pub(super) attempts: Option<(u32, u64)>,
    pub(super) concurrent: [Option<Share>; 3],
    pub(super) approvals: Vec<(Vec<Glob>, u64)>,
    pub(super) storm: StormWritten,
    pub(super) breaker: Option<BreakerRule>,
    pub(super) windows: Option<Arc<Timetable>>,
    pub(super) freezes: Vec<Freeze>,
}

/// What a policy is about. A selector that is absent selects everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) namespaces: Option<Vec<Glob>>,
    pub(super) kinds: Option<Vec<Glob>>,
    pub(super) playbooks: Option<Vec<Glob>>,
    pub(super) actions: Option<Vec<Glob>>,
    pub(super) labels: Vec<(String, String)>,
    pub(super) exclude: Option<Box<Scope>>,
}

/// Acts per window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Of what.
    pub per: Per,
    /// How many.
    pub acts: u32,
    /// Seconds.
    pub window_s: u64,
    /// Policy it comes from.
    pub policy: String,
}

/// What acts are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// The top owner of the target.
    Target,
    /// The playbook.
    Playbook,
    /// The namespace.
    Namespace,
    /// The whole cluster.
    Cluster,
}

impl Per {
    /// The word as policies write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Playbook => "playbook",
            Self::Namespace => "namespace",
            Self::Cluster => "cluster",
        }
    }
}

/// How many targets we may touch at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Share of those that exist, 0 to 1.
    pub share: f64,
    /// At most.
    pub absolute: u64,
}

impl Share {
    /// `min(absolute, max(1, floor(share * n)))`.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "counts of objects are far below 2^52"
    )]
    pub fn allowed(&self, of: u64) -> u64 {
        // A hair above the product, so that 10 % of 30 is 3 although 0.1 * 30 is below it in binary.
        let floor = (self.share * of as f64 + 1e-9).floor() as u64;
        self.absolute.min(floor.max(1))
    }
}

/// The longest window, cooldown or expiry: the ledger remembers acts as long as this.
const LONGEST_S: u64 = 7 * 86_400;

/// How long a question stands where the policy does not say it.
pub const APPROVAL_EXPIRES_S: u64 = 900;

impl Policy {
    /// When it lets act; `None` where it has no windows.
    #[must_use]
    pub fn windows(&self) -> Option<&Timetable> {
        self.windows.as_deref()
    }

    /// Times in which it lets nothing be written.
    #[must_use]
    pub fn freezes(&self) -> &[Freeze] {
        &self.freezes
    }

    /// Reads a policy; its mistakes become notes.
    pub(super) fn read(file: &str, root: &Node, notes: &mut Vec<Note>) -> Option<Self> {
        let mut faults = Faults::default();
        let policy = read(file, root, &mut faults);
        notes.extend(Note::faults(file, faults.0));
        policy
    }
}

fn read(file: &str, root: &Node, faults: &mut Faults) -> Option<Policy> {
    let top = root.fields(&["apiVersion", "kind", "metadata", "spec"], &[], faults);
    header(top, root, "Policy", faults);
    let name = top.need("metadata", root, faults).and_then(|node| {
        let fields = node.fields(&["name"], &[], faults);
        fields.need("name", node, faults)?.text(faults)
    });
    let spec = top.need("spec", root, faults)?;
    let known = [
        "scope",
        "mode",
        "maxMode",
        "limits",
        "cooldown",
        "attempts",
        "blastRadius",
        "approvals",
        "breaker",
        "windows",
        "freezes",
    ];
    let fields = spec.fields(&known, &[], faults);
    let mut mode = |key: &str| fields.get(key).and_then(|node| read_mode(node, faults));
    let (act_mode, max_mode) = (mode("mode"), mode("maxMode"));
    // What follows is read also without a name, so that every mistake is told at once.
    let named = name.clone();
    let name = name.unwrap_or_default();
    let (concurrent, storm) =
        fields.get("blastRadius").map(|node| read_blast_radius(node, faults)).unwrap_or_default();
    let policy = Policy {
        scope: fields.get("scope").map(|node| read_scope(node, faults)).unwrap_or_default(),
        mode: act_mode,
        max_mode,
        limits: fields.get("limits").map(|node| read_limits(&name, node, faults)).unwrap_or_default(),
        cooldown_s: fields.get("cooldown").and_then(|node| node.seconds_up_to(LONGEST_S, faults)),
        attempts: fields.get("attempts").and_then(|node| read_attempts(node, faults)),
        concurrent,
        approvals: fields.get("approvals").map(|node| read_approvals(node, faults)).unwrap_or_default(),
        storm,
        breaker: fields.get("breaker").and_then(|node| stops::breaker(&name, node, faults)),
        windows: fields.get("windows").and_then(|node| times::windows(&name, node, faults)),
        freezes: fields.get("freezes").map(|node| times::freezes(&name, node, faults)).unwrap_or_default(),
        name,
        file: file.to_owned(),
    };
    named.map(|_| policy)
}

fn read_mode(node: &Node, faults: &mut Faults) -> Option<Mode> {
    match node.text(faults)?.parse() {
        Ok(mode) => Some(mode),
        Err(why) => {
            faults.add(node, why);
            None
        }
    }
}

fn read_scope(node: &Node, faults: &mut Faults) -> Scope {
    let known = ["namespaces", "labels", "kinds", "playbooks", "actions", "exclude"];
    let fields = node.fields(&known, &[], faults);
    if matches!(&node.value, Value::Map(entries) if entries.is_empty()) {
        faults.add(node, "an empty scope says nothing; leave the key out to mean everything");
    }
    let mut globs = |key: &str| {
        let texts = fields.get(key).and_then(|node| node.texts(faults));
        texts.map(|texts| texts.iter().map(|text| Glob::new(text)).collect::<Vec<Glob>>())
    };
    let (namespaces, kinds, playbooks) = (globs("namespaces"), globs("kinds"), globs("playbooks"));
    let actions = globs("actions");
    if let Some(node) = fields.get("actions") {
        check_actions(node, faults);
    }
    let labels = fields.get("labels").map(|node| read_labels(node, faults)).unwrap_or_default();
    let exclude = fields.get("exclude").map(|node| Box::new(read_scope(node, faults)));
    Scope { namespaces, kinds, playbooks, actions, labels, exclude }
}

fn check_actions(node: &Node, faults: &mut Faults) {
    let Value::List(items) = &node.value else { return };
    for item in items {
        let Value::Text(text) = &item.value else { continue };
        let glob = Glob::new(text);
        if !Action::NAMES.iter().any(|name| glob.matches(name)) {
            faults.add(item, format!("no action is called {text:?}; known: {}", Action::NAMES.join(", ")));
        }
    }
}

fn read_labels(node: &Node, faults: &mut Faults) -> Vec<(String, String)> {
    let Value::Map(entries) = &node.value else {
        faults.add(node, "a map of labels is expected");
        return Vec::new();
    };
    if entries.is_empty() {
        faults.add(node, "this map is empty and would select nothing; leave the key out");
    }
    entries.iter().filter_map(|(key, node)| Some((key.clone(), node.text(faults)?))).collect()
}

fn read_limits(policy: &str, node: &Node, faults: &mut Faults) -> Vec<Limit> {
    let mut limits = Vec::new();
    for item in node.items(faults) {
        let fields = item.fields(&["per", "acts", "window"], &[], faults);
        let per = fields.need("per", item, faults).and_then(|node| {
            let all = [Per::Target, Per::Playbook, Per::Namespace, Per::Cluster];
            let text = node.text(faults)?;
            let found = all.into_iter().find(|per| per.as_str() == text);
            if found.is_none() {
                faults.add(node, "per must be target, playbook, namespace or cluster");
            }
            found
        });
        let acts = fields.need("acts", item, faults).and_then(|node| node.whole(0, faults));
        let window_s =
            fields.need("window", item, faults).and_then(|node| node.seconds_up_to(LONGEST_S, faults));
        if let (Some(per), Some(acts), Some(window_s)) = (per, acts, window_s) {
            limits.push(Limit { per, acts, window_s, policy: policy.to_owned() });
        }
    }
    limits
}

fn read_attempts(node: &Node, faults: &mut Faults) -> Option<(u32, u64)> {
    let fields = node.fields(&["max", "refill"], &[], faults);
    let max = fields.need("max", node, faults).and_then(|node| node.whole(1, faults));
    let refill = fields.need("refill", node, faults);
    let refill = refill.and_then(|node| node.seconds_up_to(LONGEST_S, faults));
    Some((max?, refill?))
}

fn read_blast_radius(node: &Node, faults: &mut Faults) -> ([Option<Share>; 3], StormWritten) {
    let fields = node.fields(&["concurrent", "storm"], &[], faults);
    let storm = fields.get("storm").map(|node| stops::storm(node, faults)).unwrap_or_default();
    (fields.get("concurrent").map(|node| read_concurrent(node, faults)).unwrap_or_default(), storm)
}

fn read_concurrent(concurrent: &Node, faults: &mut Faults) -> [Option<Share>; 3] {
    let domains = ["workload", "namespace", "mesh"];
    let fields = concurrent.fields(&domains, &[], faults);
    domains.map(|domain| {
        let node = fields.get(domain)?;
        let parts = node.fields(&["share", "absolute"], &[], faults);
        let share = parts.need("share", node, faults).and_then(|node| node.share(faults));
        let absolute = parts.need("absolute", node, faults).and_then(|node| node.whole(1, faults));
        Some(Share { share: share?, absolute: u64::from(absolute?) })
    })
}

fn read_approvals(node: &Node, faults: &mut Faults) -> Vec<(Vec<Glob>, u64)> {
    let mut approvals = Vec::new();
    for item in node.items(faults) {
        let fields = item.fields(&["actions", "votes", "expires"], &["from", "comment"], faults);
        if let Some(votes) = fields.get("votes")
            && votes.whole(1, faults).is_some_and(|votes| votes != 1)
        {
            faults.add(votes, "more than one vote is not in force yet: votes must be 1");
        }
        let actions = fields.need("actions", item, faults);
        if let Some(actions) = actions {
            check_actions(actions, faults);
        }
        let actions = actions.and_then(|node| node.texts(faults));
        let expires = match fields.get("expires") {
            Some(node) => node.seconds_up_to(LONGEST_S, faults),
            None => Some(APPROVAL_EXPIRES_S),
        };
        if let (Some(actions), Some(expires)) = (actions, expires) {
            approvals.push((actions.iter().map(|action| Glob::new(action)).collect(), expires));
        }
    }
    approvals
}
