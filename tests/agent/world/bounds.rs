//! The bounds of the world's policies as numbers, and the rules made of them.

use std::sync::{Arc, LazyLock};

use meshmend::model::verdict::Mode;
use meshmend::rules::{RuleFiles, Rules};

/// Percent, and a number.
pub(crate) type Portion = (u64, u64);

/// The bounds of one policy, from which its YAML is written: the properties check against these numbers
/// and not against what the engine made of them.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) mode: Mode,
    /// (per, acts, window in seconds).
    pub(crate) limits: &'static [(&'static str, usize, i64)],
    pub(crate) cooldown_s: i64,
    /// (acts, healthy seconds that bring them back).
    pub(crate) attempts: (u32, i64),
    /// (percent, absolute) of the targets of a namespace, and of the mesh.
    pub(crate) namespace: (u64, u64),
    pub(crate) mesh: (u64, u64),
    /// Whether enforce asks, and how long the question stands.
    pub(crate) approval_s: Option<i64>,
    /// (percent, least) of the subjects of a namespace that are a storm, and of the mesh; the rest after it.
    pub(crate) storm: Option<(Portion, Portion, i64)>,
    /// (failures, window, pause) in seconds.
    pub(crate) breaker: Option<(u32, i64, i64)>,
}

const BOUNDS: [Bounds; 7] = [
    // Much is allowed: long runs of acts on few targets.
    Bounds {
        mode: Mode::Enforce,
        limits: &[("target", 3, 900), ("playbook", 8, 900), ("cluster", 9, 900)],
        cooldown_s: 2,
        attempts: (3, 300),
        namespace: (50, 2),
        mesh: (100, 3),
        approval_s: None,
        storm: None,
        breaker: None,
    },
    // One at a time, with long rests.
    Bounds {
        mode: Mode::Enforce,
        limits: &[("target", 2, 300), ("cluster", 3, 240)],
        cooldown_s: 90,
        attempts: (2, 200),
        namespace: (10, 3),
        mesh: (1, 20),
        approval_s: None,
        storm: None,
        breaker: None,
    },
    // Namespaces and playbooks are what is scarce.
    Bounds {
        mode: Mode::Enforce,
        limits: &[("namespace", 2, 600), ("playbook", 3, 600)],
        cooldown_s: 1,
        attempts: (4, 100),
        namespace: (20, 3),
        mesh: (5, 2),
        approval_s: None,
        storm: None,
        breaker: None,
    },
    Bounds {
        mode: Mode::Suggest,
        limits: &[("cluster", 6, 600)],
        cooldown_s: 30,
        attempts: (3, 300),
        namespace: (50, 2),
        mesh: (100, 2),
        approval_s: None,
        storm: None,
        breaker: None,
    },
    Bounds {
        mode: Mode::Enforce,
        limits: &[("target", 2, 600)],
        cooldown_s: 30,
        attempts: (3, 300),
        namespace: (50, 2),
        mesh: (100, 3),
        approval_s: Some(120),
        storm: None,
        breaker: None,
    },
    Bounds {
        mode: Mode::Observe,
        limits: &[("cluster", 5, 600)],
        cooldown_s: 10,
        attempts: (3, 300),
        namespace: (50, 3),
        mesh: (100, 3),
        approval_s: None,
        storm: None,
        breaker: None,
    },
    // Two of three routes are a storm, and a playbook that fails is left alone.
    Bounds {
        mode: Mode::Enforce,
        limits: &[("cluster", 9, 600)],
        cooldown_s: 45,
        attempts: (6, 100),
        namespace: (100, 3),
        mesh: (100, 3),
        approval_s: None,
        storm: Some(((20, 2), (1, 3), 40)),
        breaker: Some((1, 600, 60)),
    },
];

/// All acts that write.
const ACTIONS: &str =
    "rollback_route, restart_sidecar, evict_pod, rollout_restart, shed_load, rotate_certificate";

impl Bounds {
    fn yaml(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!(
            "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: {{ name: world }}\nspec:\n  \
             scope: {{ namespaces: [\"shop\", \"shop-*\"], actions: [{ACTIONS}] }}\n  mode: {}\n  \
             cooldown: {}s\n  attempts: {{ max: {}, refill: {}s }}\n  blastRadius:\n    concurrent:\n      \
             namespace: {{ share: {}%, absolute: {} }}\n      mesh: {{ share: {}%, absolute: {} }}\n  limits:\n",
            self.mode,
            self.cooldown_s,
            self.attempts.0,
            self.attempts.1,
            self.namespace.0,
            self.namespace.1,
            self.mesh.0,
            self.mesh.1,
        );
        let limits = text.split_off(text.find("  limits:").expect("it was just written"));
        if let Some((near, all, rest)) = self.storm {
            let domain = |(share, least): (u64, u64)| format!("{{ share: {share}%, least: {least} }}");
            let (near, all) = (domain(near), domain(all));
            writeln!(text, "    storm: {{ namespace: {near}, mesh: {all}, cooldown: {rest}s }}")
                .expect("a string takes everything");
        }
        if let Some((failures, window, pause)) = self.breaker {
            let rule = format!("{{ failures: {failures}, window: {window}s, pause: {pause}s }}");
            writeln!(text, "  breaker: {rule}").expect("a string takes everything");
        }
        text.push_str(&limits);
        for (per, acts, window) in self.limits {
            writeln!(text, "    - {{ per: {per}, acts: {acts}, window: {window}s }}")
                .expect("a string takes everything");
        }
        if let Some(expires) = self.approval_s {
            let rule = format!("{{ actions: [{ACTIONS}], votes: 1, expires: {expires}s }}");
            writeln!(text, "  approvals:\n    - {rule}").expect("a string takes everything");
        }
        text
    }
}

/// A second way to write to the same routes, from another family of symptoms, that verifies fast and tells
/// people after the act. It asks for traffic and does not look at it, so that only the engine stands between
/// a missing fact and the act.
const SECOND: &str = r#"//! Roll back what the control plane rejected, and tell people.
fn about() {
    #{
        on: [symptom("config.rejected")],
        needs: ["route", "traffic"],
        recover: #{ indicator: "traffic.route_error_rate", soak: "2s", within: "20s", hold: "9s" },
        priority: 10,
    }
}
fn plan(facts) {
    if !("last_good" in facts.route) { return refuse("nothing is known to be good"); }
    [rollback_route(facts.route), notify("rolled back")]
}
fn next(history) { if history.attempts >= 4 { escalate("four did not help") } else { retry() } }
"#;

/// A bare playbook for each of the other acts: name, symptom, needs, plan. They look at nothing, so that only
/// the engine stands between facts and act.
const BARE: [[&str; 4]; 6] = [
    ["restart", "data_plane.proxy_hung", PROXY, "restart_sidecar(facts.pod, facts.proxy)"],
    ["evict", "data_plane.proxy_crashing", PROXY, "evict_pod(facts.pod)"],
    ["rollout", "data_plane.outdated", r#""workload", "control_plane""#, "rollout_restart(facts.workload)"],
    [
        "shed",
        "traffic.overload",
        RULE,
        r#"shed_load(facts.destination_rule, #{ max_requests: 4 }), notify("shed")"#,
    ],
    ["back", "config.rule_errors", RULE, "rollback_route(facts.destination_rule)"],
    ["rotate", "security.certificate_expiring", r#""certificate""#, "rotate_certificate(facts.certificate)"],
];

const PROXY: &str = r#""pod", "proxy", "control_plane", "budget?", "workload?""#;
const RULE: &str = r#""destination_rule", "traffic""#;

fn bare([_, on, needs, plan]: &[&str; 4]) -> String {
    format!(
        "//! {on}.\nfn about() {{ #{{ on: [symptom(\"{on}\")], needs: [{needs}], recover: #{{ indicator: \
         \"traffic.route_error_rate\", soak: \"2s\", within: \"20s\", hold: \"9s\" }} }} }}\n\
         fn plan(facts) {{ [{plan}] }}\n\
         fn next(history) {{ if history.attempts >= 4 {{ escalate(\"four\") }} else {{ retry() }} }}\n"
    )
}

/// Rules with the bounds they were made of.
pub(crate) struct Variant {
    pub(crate) bounds: Bounds,
    pub(crate) rules: Arc<Rules>,
    pub(crate) files: RuleFiles,
}

static VARIANTS: LazyLock<Vec<Variant>> = LazyLock::new(|| BOUNDS.iter().map(variant).collect());

fn variant(bounds: &Bounds) -> Variant {
    let mut files = RuleFiles::embedded();
    // Without the shipped policy nothing covers what lies outside of the scope.
    files.policies.remove("observe.yaml");
    files.policies.insert("world.yaml".to_owned(), bounds.yaml());
    // The world has a bare playbook for each act, without the refusals that the shipped ones make in words:
    // what holds must hold without them.
    let told = ["roll-back-virtual-service.rhai", "notify-only.rhai"];
    files.playbooks.retain(|file, _| told.contains(&file.as_str()));
    files.playbooks.insert("second.rhai".to_owned(), SECOND.to_owned());
    for playbook in &BARE {
        files.playbooks.insert(format!("{}.rhai", playbook[0]), bare(playbook));
    }
    let rules = match Rules::load(&files, None) {
        Ok(loaded) => Arc::new(loaded.rules),
        Err(notes) => panic!("the rules of the world are wrong: {}", notes[0]),
    };
    Variant { bounds: bounds.clone(), rules, files }
}

pub(crate) fn variants() -> &'static [Variant] {
    &VARIANTS
}
