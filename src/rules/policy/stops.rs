//! What makes a policy stop by itself: storms, and acts that do not help.

use super::LONGEST_S;
use crate::yaml::{Faults, Fields, Node, Value};

/// From how many ill subjects at once on we leave them to people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StormBound {
    /// Share of those that exist, 0 to 1.
    pub share: f64,
    /// At least so many, whatever the share: one of two is no storm.
    pub least: u64,
}

impl StormBound {
    /// `max(least, ceil(share * n))`: so many ill subjects are a storm.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "counts of objects are far below 2^52"
    )]
    pub fn bound(&self, of: u64) -> u64 {
        // A hair below the product, so that 30 % of 10 is 3 although 0.3 * 10 may be above it in binary.
        let share = (self.share * of as f64 - 1e-9).ceil().max(0.0) as u64;
        self.least.max(share).max(1)
    }
}

/// `blastRadius.storm` as written.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::rules) struct StormWritten {
    pub(in crate::rules) namespace: (Option<f64>, Option<u64>),
    pub(in crate::rules) mesh: (Option<f64>, Option<u64>),
    pub(in crate::rules) cooldown_s: Option<u64>,
}

/// Acts that do not help, and the pause that follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerRule {
    /// So many failures.
    pub failures: u32,
    /// Within so many seconds.
    pub window_s: u64,
    /// Hold new acts so many seconds; then one may try.
    pub pause_s: u64,
    /// Policy it comes from.
    pub policy: String,
}

/// Reads `blastRadius.storm`: `{ namespace: 30%, mesh: { share: 10%, least: 5 }, cooldown: 5m }`.
pub(super) fn storm(node: &Node, faults: &mut Faults) -> StormWritten {
    let fields = node.fields(&["namespace", "mesh", "cooldown"], &[], faults);
    let namespace = domain(fields, "namespace", faults);
    let mesh = domain(fields, "mesh", faults);
    let cooldown_s = fields.get("cooldown").and_then(|node| node.seconds_up_to(LONGEST_S, faults));
    StormWritten { namespace, mesh, cooldown_s }
}

fn domain(fields: Fields<'_>, key: &str, faults: &mut Faults) -> (Option<f64>, Option<u64>) {
    let Some(node) = fields.get(key) else { return (None, None) };
    if !matches!(node.value, Value::Map(_)) {
        return (node.share(faults), None);
    }
    let parts = node.fields(&["share", "least"], &[], faults);
    let share = parts.need("share", node, faults).and_then(|node| node.share(faults));
    let least = parts.get("least").and_then(|node| node.whole(1, faults));
    (share, least.map(u64::from))
}

/// Reads `breaker`.
pub(super) fn breaker(policy: &str, node: &Node, faults: &mut Faults) -> Option<BreakerRule> {
    let fields = node.fields(&["failures", "window", "pause"], &[], faults);
    let failures = fields.need("failures", node, faults).and_then(|node| node.whole(1, faults));
    let mut seconds =
        |key: &str| fields.need(key, node, faults).and_then(|node| node.seconds_up_to(LONGEST_S, faults));
    let (window_s, pause_s) = (seconds("window"), seconds("pause"));
    Some(BreakerRule {
        failures: failures?,
        window_s: window_s?,
        pause_s: pause_s?,
        policy: policy.to_owned(),
    })
}
