//! Ruling: what all policies together say about one act.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::glob::Glob;
use super::note::Note;
use super::policy::{APPROVAL_EXPIRES_S, BreakerRule, Limit, Policy, Scope, Share, StormBound, StormWritten};
use super::window::{Freeze, Timetable};
use crate::model::subject::Subject;
use crate::model::verdict::Mode;

/// An act as policies look at it.
#[derive(Clone, Debug)]
pub struct Act<'a> {
    /// Playbook that proposes it.
    pub playbook: &'a str,
    /// Names of its actions that write. What else a plan does is no reason to let it write.
    pub actions: Vec<&'a str>,
    /// What it writes to.
    pub target: &'a Subject,
    /// Labels of the target, read from the object: a sender does not choose the policy.
    pub labels: &'a BTreeMap<String, String>,
}

/// What the policies say.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// Mode in force.
    pub mode: Mode,
    /// Where it comes from.
    pub mode_from: String,
    /// Whether any policy covers the act.
    pub in_scope: bool,
    /// The policy that would cover it, but excludes it, where no other covers it.
    pub excluded_by: Option<String>,
    /// All limits that apply.
    pub limits: Vec<Limit>,
    /// Rest after an act.
    pub cooldown_s: u64,
    /// Where it comes from.
    pub cooldown_from: String,
    /// Attempt budget.
    pub attempts: AttemptsRule,
    /// Where it comes from.
    pub attempts_from: String,
    /// Targets at once.
    pub concurrent: Concurrent,
    /// When so many are ill that people have to look.
    pub storm: StormRule,
    /// All breakers that apply.
    pub breakers: Vec<BreakerRule>,
    /// All windows that apply.
    pub windows: Vec<Arc<Timetable>>,
    /// The freeze in force that ends last: it caps the mode to observe.
    pub frozen: Option<Freeze>,
    /// How many freezes the policies know, past and future ones included.
    pub freezes: usize,
    /// Whether a person has to agree.
    pub approval: Option<ApprovalRule>,
    /// Names of the policies that apply.
    pub policies: Vec<String>,
}

/// Attempts per target and symptom family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptsRule {
    /// How many.
    pub max: u32,
    /// Seconds of health after which they come back.
    pub refill_s: u64,
}

/// Targets we may touch at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Concurrent {
    /// Per top owner.
    pub workload: Share,
    /// Per namespace.
    pub namespace: Share,
    /// In the mesh.
    pub mesh: Share,
    /// Where these three come from.
    pub from: [String; 3],
}

/// Subjects that may be ill at once before it is a storm.
#[derive(Clone, Debug, PartialEq)]
pub struct StormRule {
    /// In the target's namespace.
    pub namespace: StormBound,
    /// In the mesh.
    pub mesh: StormBound,
    /// Rest after a storm, in seconds.
    pub cooldown_s: u64,
    /// Where the two bounds come from.
    pub from: [String; 2],
}

/// A person has to agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRule {
    /// Seconds until the question expires.
    pub expires_s: u64,
    /// Policy that wants it.
    pub policy: String,
}

/// On by default, as design section 5 wants it: per workload, namespace, mesh.
const CONCURRENT: [Share; 3] = [
    Share { share: 0.10, absolute: 3 },
    Share { share: 0.10, absolute: 3 },
    Share { share: 0.01, absolute: 20 },
];

/// On by default: where so many of a kind are ill at once, the reason lies elsewhere. Three of a namespace and
/// five of the mesh are the least, so that a small shop with two bad routes is still healed.
const STORM: [StormBound; 2] = [StormBound { share: 0.30, least: 3 }, StormBound { share: 0.10, least: 5 }];

/// Rest after a storm: alerts resolve and fire again for some minutes after its cause has gone.
const STORM_COOLDOWN_S: u64 = 300;

/// Where a bound comes from that no policy sets.
const DEFAULT: &str = "default";

/// Three tries on one illness, back after an hour of health: more is not healing but hoping.
const ATTEMPTS: AttemptsRule = AttemptsRule { max: 3, refill_s: 3_600 };

/// All policies.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    all: Vec<Policy>,
    cap: Option<Mode>,
}

impl Policies {
    /// Policies with the cap of the command line, which only lowers.
    pub(super) fn new(all: Vec<Policy>, cap: Option<Mode>, notes: &mut Vec<Note>) -> Self {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for policy in &all {
            if let Some(other) = seen.insert(&policy.name, &policy.file) {
                let text = format!("{other} holds a policy of the name {} too", policy.name);
                notes.push(Note::error(&policy.file, 1, 1, text));
            }
        }
        Self { all, cap }
    }

    /// The policies.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.all.iter()
    }

    /// The mode that some act may have at most: for people who want to know what to expect.
    #[must_use]
    pub fn highest_mode(&self) -> Mode {
        let modes = self.all.iter().filter_map(|policy| {
            let mode = policy.mode?;
            Some(policy.max_mode.map_or(mode, |cap| mode.min(cap)))
        });
        let highest = modes.max().unwrap_or_default();
        self.cap.map_or(highest, |cap| highest.min(cap))
    }

    /// What all of them together say at this time: the most specific scope decides the mode, caps and limits
    /// of all that match apply, and the smaller number wins.
    #[must_use]
    pub fn ruling(&self, act: &Act<'_>, at: Timestamp) -> Ruling {
        let fitting: Vec<&Policy> = self.all.iter().filter(|policy| policy.scope.fits(act)).collect();
        let covering: Vec<&Policy> =
            fitting.iter().copied().filter(|policy| !policy.scope.excludes(act)).collect();
        let excluded_by = fitting.first().filter(|_| covering.is_empty()).map(|policy| policy.name.clone());
        let freezes = || covering.iter().flat_map(|policy| &policy.freezes);
        let frozen = freezes().filter(|freeze| freeze.holds(at)).max_by_key(|freeze| freeze.to).cloned();
        let (mode, mode_from) = self.mode(&covering, act, frozen.as_ref());
        let attempts = covering.iter().filter_map(|policy| policy.attempts);
        let attempts = attempts.map(|(max, refill_s)| AttemptsRule { max, refill_s }).reduce(|one, other| {
            AttemptsRule { max: one.max.min(other.max), refill_s: one.refill_s.max(other.refill_s) }
        });
        Ruling {
            mode,
            mode_from,
            in_scope: !covering.is_empty(),
            excluded_by,
            limits: covering.iter().flat_map(|policy| policy.limits.clone()).collect(),
            cooldown_s: covering.iter().filter_map(|policy| policy.cooldown_s).max().unwrap_or(0),
            cooldown_from: from(&covering, |policy| policy.cooldown_s.is_some()),
            attempts: attempts.unwrap_or(ATTEMPTS),
            attempts_from: from(&covering, |policy| policy.attempts.is_some()),
            concurrent: concurrent(&covering),
            storm: storm(&covering),
            breakers: covering.iter().filter_map(|policy| policy.breaker.clone()).collect(),
            windows: covering.iter().filter_map(|policy| policy.windows.clone()).collect(),
            freezes: freezes().count(),
            frozen,
            approval: approval(&covering, act, mode),
            policies: covering.iter().map(|policy| policy.name.clone()).collect(),
        }
    }

    fn mode(&self, covering: &[&Policy], act: &Act<'_>, frozen: Option<&Freeze>) -> (Mode, String) {
        let deciding = covering
            .iter()
            .filter_map(|policy| {
                Some((policy.scope.specificity(act), std::cmp::Reverse(policy.mode?), *policy))
            })
            .max_by_key(|(specificity, mode, _)| (*specificity, *mode));
        let (mut mode, mut from) = match deciding {
            Some((_, std::cmp::Reverse(mode), policy)) => (mode, format!("policy {}", policy.name)),
            None => (Mode::Observe, "default: no policy sets a mode".to_owned()),
        };
        for policy in covering {
            if let Some(cap) = policy.max_mode.filter(|cap| *cap < mode) {
                (mode, from) = (cap, format!("maxMode of policy {}", policy.name));
            }
        }
        if let Some(freeze) = frozen.filter(|_| mode > Mode::Observe) {
            (mode, from) = (Mode::Observe, format!("a freeze of policy {}", freeze.policy));
        }
        match self.cap.filter(|cap| *cap < mode) {
            Some(cap) => (cap, "the cap of the command line".to_owned()),
            None => (mode, from),
        }
    }
}

/// The policies that set something, or that none does.
fn from(covering: &[&Policy], sets: impl Fn(&Policy) -> bool) -> String {
    let names: Vec<&str> =
        covering.iter().filter(|policy| sets(policy)).map(|policy| policy.name.as_str()).collect();
    if names.is_empty() { DEFAULT.to_owned() } else { names.join(", ") }
}

fn concurrent(covering: &[&Policy]) -> Concurrent {
    let share = |index: usize| {
        let set = covering.iter().filter_map(|policy| policy.concurrent[index]);
        set.reduce(smaller).unwrap_or(CONCURRENT[index])
    };
    Concurrent {
        workload: share(0),
        namespace: share(1),
        mesh: share(2),
        from: [0, 1, 2].map(|index| from(covering, |policy| policy.concurrent[index].is_some())),
    }
}

fn storm(covering: &[&Policy]) -> StormRule {
    type Written = fn(&StormWritten) -> (Option<f64>, Option<u64>);
    let parts: [Written; 2] = [|storm| storm.namespace, |storm| storm.mesh];
    let bound = |index: usize| {
        let written = || covering.iter().map(|policy| parts[index](&policy.storm));
        StormBound {
            share: written().filter_map(|(share, _)| share).reduce(f64::min).unwrap_or(STORM[index].share),
            least: written().filter_map(|(_, least)| least).min().unwrap_or(STORM[index].least),
        }
    };
    StormRule {
        namespace: bound(0),
        mesh: bound(1),
        cooldown_s: covering
            .iter()
            .filter_map(|policy| policy.storm.cooldown_s)
            .max()
            .unwrap_or(STORM_COOLDOWN_S),
        from: [0, 1].map(|index| from(covering, |policy| parts[index](&policy.storm) != (None, None))),
    }
}

fn smaller(one: Share, other: Share) -> Share {
    Share { share: one.share.min(other.share), absolute: one.absolute.min(other.absolute) }
}

fn approval(covering: &[&Policy], act: &Act<'_>, mode: Mode) -> Option<ApprovalRule> {
    let wanted = covering.iter().flat_map(|policy| {
        let fits = policy.approvals.iter().filter(|(actions, _)| any(actions, act.actions.iter().copied()));
        fits.map(|(_, expires_s)| ApprovalRule { expires_s: *expires_s, policy: policy.name.clone() })
    });
    let first = wanted.min_by_key(|rule| rule.expires_s);
    let suggested = || ApprovalRule { expires_s: APPROVAL_EXPIRES_S, policy: "mode suggest".to_owned() };
    first.or_else(|| (mode == Mode::Suggest).then(suggested))
}

fn any<'a>(globs: &[Glob], names: impl IntoIterator<Item = &'a str>) -> bool {
    names.into_iter().any(|name| globs.iter().any(|glob| glob.matches(name)))
}

impl Scope {
    /// Whether all selectors that are there select the act.
    fn fits(&self, act: &Act<'_>) -> bool {
        let one =
            |globs: &Option<Vec<Glob>>, name: &str| globs.as_ref().is_none_or(|globs| any(globs, [name]));
        let actions = self.actions.as_ref().is_none_or(|globs| any(globs, act.actions.iter().copied()));
        one(&self.namespaces, act.target.scope_namespace())
            && one(&self.kinds, &act.target.kind)
            && one(&self.playbooks, act.playbook)
            && actions
            && self.labels.iter().all(|(key, value)| act.labels.get(key) == Some(value))
    }

    fn excludes(&self, act: &Act<'_>) -> bool {
        self.exclude.as_ref().is_some_and(|exclude| exclude.fits(act))
    }

    /// How much the scope says about this act. Namespaces are compared first, then labels, kinds, playbooks
    /// and actions, so that a namespace named in full outweighs everything that is said about others.
    fn specificity(&self, act: &Act<'_>) -> [u32; 5] {
        let best = |globs: &Option<Vec<Glob>>, name: &str| {
            let fitting = globs.iter().flatten().filter(|glob| glob.matches(name));
            fitting.map(|glob| glob.weight() + 1).max().unwrap_or(0)
        };
        let actions = act.actions.iter().map(|name| best(&self.actions, name)).max().unwrap_or(0);
        [
            best(&self.namespaces, act.target.scope_namespace()),
            u32::try_from(self.labels.len()).unwrap_or(u32::MAX),
            best(&self.kinds, &act.target.kind),
            best(&self.playbooks, act.playbook),
            actions,
        ]
    }
}
