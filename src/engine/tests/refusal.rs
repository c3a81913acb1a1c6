//! What no playbook can talk the engine into: one row for each check of `engine::refusals`.
//!
//! Mutation for each row: removing the check that it is about, or turning its condition round.

use super::super::refusals;
use super::desk::{Desk, hash};
use super::scene::{
    certificate, deployment, desk, evict, facts, found, of, of_pod, restart, roll_rule_back, rollout, rotate,
    shed,
};
use crate::model::action::Action;
use crate::model::facts::{Facts, ManagedBy, OutlierFacts};
use crate::model::incident::{Incident, Phase};
use crate::model::reason::Reason;
use crate::model::subject::Subject;

fn code(reason: &Reason) -> String {
    let json = serde_json::to_value(reason).unwrap();
    json["code"].as_str().unwrap().to_owned()
}

/// The case that an act belongs to.
fn case(action: &Action) -> Incident {
    let mut desk = desk();
    let signal = match action {
        Action::RestartSidecar { .. } => of_pod("data_plane.proxy_hung", "cart-1", &desk),
        Action::EvictPod { .. } => of_pod("data_plane.proxy_crashing", "cart-1", &desk),
        Action::RolloutRestart { .. } => of("data_plane.outdated", deployment(), &desk),
        Action::RotateCertificate { .. } => of("security.certificate_expiring", certificate(), &desk),
        Action::ShedLoad { .. }
        | Action::RollbackRoute { .. }
        | Action::Restore { .. }
        | Action::Notify { .. } => of("traffic.overload", Subject::service("shop", "cart"), &desk),
    };
    desk.says(signal);
    desk.case().clone()
}

fn checked(action: &Action, facts: &Facts) -> String {
    match refusals::check(action, &case(action), facts, &|_| true) {
        Ok(()) => "allowed".to_owned(),
        Err(reason) => code(&reason),
    }
}

type Allowed = (&'static str, fn() -> Action, fn(&mut Facts));
type Needs = (fn() -> Action, &'static [&'static str]);
type Row = (&'static str, fn() -> Action, fn(&mut Facts), &'static str);

fn holds(rows: &[Row]) {
    for (what, action, edit, expected) in rows {
        let mut facts = facts("cart-1");
        assert_eq!(checked(&action(), &facts), "allowed", "{what}: nothing speaks against it yet");
        edit(&mut facts);
        assert_eq!(checked(&action(), &facts), *expected, "{what}");
    }
}

#[test]
fn restarts_evictions_and_rollouts_are_refused_by_their_facts() {
    holds(&[
        ("no pod", restart, |f| f.pod = None, "fact_unknown"),
        ("no proxy", restart, |f| f.proxy = None, "fact_unknown"),
        ("no control plane", restart, |f| f.control_plane = None, "fact_unknown"),
        ("it goes already", restart, |f| f.pod.as_mut().unwrap().terminating = true, "being_replaced"),
        ("a rollout", restart, |f| f.workload.as_mut().unwrap().updating = true, "being_replaced"),
        ("it rejects", restart, |f| f.proxy.as_mut().unwrap().rejected = true, "proxy_rejects"),
        (
            "none ready",
            restart,
            |f| f.control_plane.as_mut().unwrap().ready_replicas = 0,
            "control_plane_down",
        ),
        ("Never", restart, |f| f.pod.as_mut().unwrap().restart_policy = "Never".to_owned(), "not_restarted"),
        (
            "OnFailure",
            restart,
            |f| f.pod.as_mut().unwrap().restart_policy = "OnFailure".to_owned(),
            "not_restarted",
        ),
        (
            "599 s ago",
            restart,
            |f| f.proxy.as_mut().unwrap().last_restart_s = Some(599),
            "restarted_recently",
        ),
        ("no budget", restart, |f| f.budget.as_mut().unwrap().disruptions_allowed = 0, "no_budget"),
        ("no pod", evict, |f| f.pod = None, "fact_unknown"),
        ("no control plane", evict, |f| f.control_plane = None, "fact_unknown"),
        ("it goes already", evict, |f| f.pod.as_mut().unwrap().terminating = true, "being_replaced"),
        ("a rollout", evict, |f| f.workload.as_mut().unwrap().updating = true, "being_replaced"),
        ("it rejects", evict, |f| f.proxy.as_mut().unwrap().rejected = true, "proxy_rejects"),
        ("none ready", evict, |f| f.control_plane.as_mut().unwrap().ready_replicas = 0, "control_plane_down"),
        ("bare", evict, |f| f.pod.as_mut().unwrap().owner.kind = "Pod".to_owned(), "not_replaced"),
        ("static", evict, |f| f.pod.as_mut().unwrap().owner.kind = "Node".to_owned(), "not_replaced"),
        ("same node", evict, |f| f.pod.as_mut().unwrap().owner.kind = "DaemonSet".to_owned(), "not_replaced"),
        ("no budget", evict, |f| f.budget.as_mut().unwrap().disruptions_allowed = 0, "no_budget"),
        ("no workload", rollout, |f| f.workload = None, "fact_unknown"),
        ("no control plane", rollout, |f| f.control_plane = None, "fact_unknown"),
        ("under way", rollout, |f| f.workload.as_mut().unwrap().updating = true, "being_replaced"),
        (
            "none ready",
            rollout,
            |f| f.control_plane.as_mut().unwrap().ready_replicas = 0,
            "control_plane_down",
        ),
    ]);
}

#[test]
fn sheds_rotations_and_rollbacks_of_rules_are_refused_by_their_facts() {
    holds(&[
        ("no traffic", shed, |f| f.traffic = None, "fact_unknown"),
        ("one endpoint", shed, |f| f.traffic.as_mut().unwrap().ready_endpoints = Some(1), "too_few_to_shed"),
        ("a tool owns it", shed, |f| rule(f).managed_by = ManagedBy::Argocd, "managed"),
        ("ours is on it", shed, |f| rule(f).shed = true, "already_shed"),
        ("others", shed, |f| rule(f).others = vec!["shop/other".to_owned()], "several_rules"),
        ("ejection", shed, |f| rule(f).outlier = Some(OUTLIER), "ejecting"),
        ("none", roll_rule_back, |f| f.destination_rule = None, "fact_unknown"),
        ("a tool owns it", roll_rule_back, |f| rule(f).managed_by = ManagedBy::Helm, "managed"),
        ("ours is on it", roll_rule_back, |f| rule(f).shed = true, "already_shed"),
        ("others", roll_rule_back, |f| rule(f).others = vec!["shop/other".to_owned()], "several_rules"),
        ("good", roll_rule_back, |f| rule(f).current_good = true, "current_is_good"),
        ("nothing good", roll_rule_back, |f| rule(f).last_good = None, "no_good_revision"),
        ("undefined", roll_rule_back, |f| good(f).destinations[0].defined = false, "undefined_subset"),
        ("nobody ready", roll_rule_back, |f| good(f).destinations[0].ready = 0, "too_few_endpoints"),
        ("no certificate", rotate, |f| f.certificate = None, "fact_unknown"),
        ("issuing", rotate, |f| f.certificate.as_mut().unwrap().issuing = true, "already_issuing"),
        ("no issuer", rotate, |f| f.certificate.as_mut().unwrap().issuer_ready = false, "issuer_not_ready"),
        ("35 % left", rotate, |f| lives(f, 35, 1), "not_due"),
    ]);
}

const OUTLIER: OutlierFacts = OutlierFacts { max_ejection_percent: 10, min_health_percent: 0 };

fn rule(facts: &mut Facts) -> &mut crate::model::facts::DestinationRuleFacts {
    facts.destination_rule.as_mut().unwrap()
}

fn good(facts: &mut Facts) -> &mut crate::model::facts::LastGoodFacts {
    rule(facts).last_good.as_mut().unwrap()
}

fn lives(facts: &mut Facts, percent: i64, renewal_s: i64) {
    let found = facts.certificate.as_mut().unwrap();
    found.not_after_s = found.life_s / 100 * percent;
    found.renewal_s = renewal_s;
}

// Mutations: `<` to `<=` in the back-off, `>` to `>=` in `DUE_PERCENT`, `||` to `&&` around `native`, either
// side of `unready` alone, `ready < 2` to `ready <= 2`.
#[test]
fn what_lies_just_inside_of_a_bound_is_allowed() {
    let rows: &[Allowed] = &[
        ("600 s ago", restart, |f| f.proxy.as_mut().unwrap().last_restart_s = Some(600)),
        ("no budget selects it", restart, |f| f.budget = None),
        ("no workload", restart, |f| f.workload = None),
        ("native", restart, |f| {
            f.proxy.as_mut().unwrap().native = true;
            f.pod.as_mut().unwrap().restart_policy = "Never".to_owned();
        }),
        ("counted out already", restart, |f| {
            f.pod.as_mut().unwrap().ready = false;
            f.budget.as_mut().unwrap().disruptions_allowed = 0;
        }),
        ("AlwaysAllow", evict, |f| {
            f.pod.as_mut().unwrap().ready = false;
            let budget = f.budget.as_mut().unwrap();
            (budget.disruptions_allowed, budget.current_healthy) = (0, 1);
            budget.unhealthy_policy = "AlwaysAllow".to_owned();
        }),
        ("two endpoints", shed, |f| f.traffic.as_mut().unwrap().ready_endpoints = Some(2)),
        ("34 % left", rotate, |f| lives(f, 34, 1)),
        ("past its time", rotate, |f| lives(f, 90, 0)),
    ];
    for (what, action, edit) in rows {
        let mut facts = facts("cart-1");
        edit(&mut facts);
        assert_eq!(checked(&action(), &facts), "allowed", "{what}");
    }
    let mut facts = facts("cart-1");
    facts.pod.as_mut().unwrap().ready = false;
    let budget = facts.budget.as_mut().unwrap();
    (budget.disruptions_allowed, budget.current_healthy) = (0, 1);
    assert_eq!(checked(&evict(), &facts), "no_budget", "unready, but so are too many others");
}

// Mutation for each: leaving that part out of its `named`.
#[test]
fn an_act_that_names_something_else_than_the_facts_is_no_plan() {
    let other = || "other".to_owned();
    let mut acts = Vec::new();
    for field in ["target", "uid", "container", "container_id"] {
        let Action::RestartSidecar { mut target, mut uid, mut container, mut container_id, drain_s } =
            restart()
        else {
            unreachable!()
        };
        match field {
            "target" => target.name = other(),
            "uid" => uid = other(),
            "container" => container = other(),
            _ => container_id = other(),
        }
        acts.push(Action::RestartSidecar { target, uid, container, container_id, drain_s });
    }
    let pod = |name: &str| Subject::pod("shop", name);
    acts.push(Action::EvictPod { target: pod("cart-2"), uid: "u".to_owned() });
    acts.push(Action::EvictPod { target: pod("cart-1"), uid: other() });
    let istiod = super::scene::istiod();
    acts.push(Action::RolloutRestart {
        target: istiod,
        uid: "w".to_owned(),
        generation: 3,
        restarted_at: None,
    });
    acts.push(Action::RolloutRestart {
        target: deployment(),
        uid: other(),
        generation: 3,
        restarted_at: None,
    });
    acts.push(Action::RolloutRestart {
        target: deployment(),
        uid: "w".to_owned(),
        generation: 2,
        restarted_at: None,
    });
    acts.push(Action::RotateCertificate { target: certificate(), uid: other(), revision: 4 });
    acts.push(Action::RotateCertificate { target: certificate(), uid: "c".to_owned(), revision: 3 });
    let theirs = Subject::new("cert-manager.io", "Certificate", "shop", "pay");
    acts.push(Action::RotateCertificate { target: theirs, uid: "c".to_owned(), revision: 4 });
    let rule = |name: &str| Subject::destination_rule("shop", name);
    for (name, uid, from) in [("pay", "d", "rule"), ("cart", "x", "rule"), ("cart", "d", "x")] {
        let (target, uid, from) = (rule(name), uid.to_owned(), hash(from));
        let Action::ShedLoad { host, limits, expires_s, .. } = shed() else { unreachable!() };
        acts.push(Action::RollbackRoute { target: target.clone(), uid: uid.clone(), from, to: hash("good") });
        acts.push(Action::ShedLoad { target, uid, from: Some(from), host, limits, expires_s });
    }
    let Action::ShedLoad { target, uid, from, limits, expires_s, .. } = shed() else { unreachable!() };
    acts.push(Action::ShedLoad { target, uid, from, host: other(), limits, expires_s });
    acts.push(shed().inverse().unwrap());
    for action in acts {
        assert_eq!(checked(&action, &facts("cart-1")), "invalid_plan", "{action:?}");
    }
}

// Mutation: a workload that is no longer the case's own owner.
#[test]
fn only_the_owner_of_the_case_is_rolled_over() {
    let (mut found, mut stranger) = (facts("cart-1"), deployment());
    stranger.name = "pay".to_owned();
    found.workload.as_mut().unwrap().name = "pay".to_owned();
    let action =
        Action::RolloutRestart { target: stranger, uid: "w".to_owned(), generation: 3, restarted_at: None };
    assert_eq!(checked(&action, &found), "invalid_plan");
}

/// The shed that creates a rule beside the Service.
fn create() -> Action {
    let Action::ShedLoad { host, limits, expires_s, .. } = shed() else { unreachable!() };
    let target = Subject::destination_rule("shop", "meshmend-shed-cart");
    Action::ShedLoad { target, uid: String::new(), from: None, host, limits, expires_s }
}

// Mutations: `uid.is_empty()` not looked at where a rule is in force; `fresh` without its namespace; a shed
// for anything but a Service.
#[test]
fn a_rule_is_created_only_where_none_is_in_force() {
    let mut none = facts("cart-1");
    none.destination_rule = None;
    assert_eq!(checked(&create(), &none), "allowed");
    assert_eq!(checked(&create(), &facts("cart-1")), "several_rules");
    assert_eq!(checked(&shed(), &none), "invalid_plan", "the rule it names is not there");
    none.traffic = None;
    assert_eq!(checked(&create(), &none), "fact_unknown");
    none.traffic = facts("cart-1").traffic;
    let Action::ShedLoad { uid, from, host, limits, expires_s, .. } = create() else { unreachable!() };
    let target = Subject::destination_rule("pay", "meshmend-shed-cart");
    let elsewhere = Action::ShedLoad { target, uid, from, host, limits, expires_s };
    assert_eq!(checked(&elsewhere, &none), "invalid_plan");
    let incident = case(&restart());
    assert_eq!(
        code(&refusals::check(&shed(), &incident, &facts("cart-1"), &|_| true).unwrap_err()),
        "invalid_plan"
    );
}

// Mutation for each: leaving that fact out of `needed`.
#[test]
fn an_act_whose_checks_were_not_asked_for_is_no_plan() {
    let needed: [Needs; 6] = [
        (restart, &["pod", "proxy", "control_plane", "budget"]),
        (evict, &["pod", "control_plane", "budget"]),
        (rollout, &["workload", "control_plane"]),
        (shed, &["destination_rule", "traffic"]),
        (rotate, &["certificate"]),
        (roll_rule_back, &["destination_rule"]),
    ];
    for (action, facts_needed) in needed {
        let action = action();
        for missing in facts_needed {
            let asked = |fact: &str| fact != *missing;
            let answer = refusals::check(&action, &case(&action), &facts("cart-1"), &asked);
            let Err(Reason::InvalidPlan { text }) = &answer else { panic!("{missing}: {answer:?}") };
            assert!(text.contains(missing), "{text}");
        }
    }
}

/// A hung proxy whose inspection finds this.
fn hung(edit: fn(&mut crate::model::facts::Findings)) -> Desk {
    let mut desk = desk();
    desk.says(of_pod("data_plane.proxy_hung", "cart-1", &desk));
    let mut findings = found(facts("cart-1"), &desk);
    findings.facts.budget = None;
    edit(&mut findings);
    let id = desk.id();
    desk.finds_all(&id, findings);
    desk
}

// Mutation: `propose` that looks at required facts only.
#[test]
fn a_budget_that_could_not_be_read_is_a_refusal_and_none_at_all_is_not() {
    assert_eq!(hung(|_| {}).case().phase, Phase::Planned);
    let unreadable = hung(|findings| {
        findings.missing.insert("budget".to_owned(), "two budgets select the pod".to_owned());
        findings.hopeless.insert("budget".to_owned());
    });
    let (phase, reason) = unreadable.ended();
    assert_eq!((phase, code(reason).as_str()), (Phase::Escalated, "fact_unknown"));
}
