//! Templates: a playbook to begin with, that compiles and whose tests pass.

use std::fmt::Write as _;

use super::files::Rules;
use crate::model::action::Action;

/// What a playbook around one act looks like.
struct Template {
    action: &'static str,
    /// What it heals.
    symptom: &'static str,
    group: &'static str,
    kind: &'static str,
    needs: &'static [&'static str],
    /// A refusal that nearly every playbook of this act wants: when, and in which words.
    refusal: [&'static str; 2],
    /// Facts under which it refuses, as changes to the usual ones.
    refused: &'static str,
    call: &'static str,
    undo: &'static str,
    /// Indicators to verify with, best first.
    recover: &'static [&'static str],
}

const TRAFFIC: &str = "traffic.route_error_rate";

const TEMPLATES: &[Template] = &[
    Template {
        action: "notify",
        symptom: "custom.alert",
        group: "",
        kind: "Namespace",
        needs: &[],
        refusal: ["this.signals > 100", "this was told often enough"],
        refused: "",
        call: "notify(this.symptom + \" on \" + this.subject.kind + \" \" + this.subject.name + \" needs a person\")",
        undo: "none, nothing is changed",
        recover: &[],
    },
    Template {
        action: "rollback_route",
        symptom: "traffic.route_errors",
        group: "networking.istio.io",
        kind: "VirtualService",
        needs: &["route", "traffic"],
        refusal: ["!(\"last_good\" in facts.route)", "no other revision of this route is known to be good"],
        refused: "all.route.remove(\"last_good\");",
        call: "rollback_route(facts.route)",
        undo: "the revision that was in force before",
        recover: &[TRAFFIC],
    },
    Template {
        action: "restart_sidecar",
        symptom: "data_plane.proxy_hung",
        group: "",
        kind: "Pod",
        needs: &["pod", "proxy", "control_plane"],
        refusal: [
            "facts.control_plane.ready_replicas == 0",
            "no istiod is ready: a new proxy would get no configuration",
        ],
        refused: "all.control_plane.ready_replicas = 0;",
        call: "restart_sidecar(facts.pod, facts.proxy)",
        undo: "none, a restart cannot be taken back",
        recover: &["data_plane.proxy_liveness", TRAFFIC],
    },
    Template {
        action: "evict_pod",
        symptom: "data_plane.proxy_hung",
        group: "",
        kind: "Pod",
        needs: &["pod", "budget?"],
        refusal: ["facts.pod.owner.kind == \"Pod\"", "nobody would make this pod again"],
        refused: "all.pod.owner.kind = \"Pod\";",
        call: "evict_pod(facts.pod)",
        undo: "none, its owner makes a new pod",
        recover: &["data_plane.proxy_liveness", TRAFFIC],
    },
    Template {
        action: "rollout_restart",
        symptom: "data_plane.proxy_stale",
        group: "",
        kind: "Pod",
        needs: &["workload"],
        refusal: ["facts.workload.updating", "a rollout is under way"],
        refused: "all.workload.updating = true;",
        call: "rollout_restart(facts.workload)",
        undo: "none, a restart cannot be taken back",
        recover: &["data_plane.proxy_liveness", TRAFFIC],
    },
    Template {
        action: "shed_load",
        symptom: "traffic.overload",
        group: "",
        kind: "Service",
        needs: &["destination_rule", "traffic"],
        refusal: ["facts.destination_rule.shed", "a shed of ours is in force already"],
        refused: "all.destination_rule.shed = true;",
        call: "shed_load(facts.destination_rule, #{ max_requests: 16, max_pending: 4, expires: \"10m\" })",
        undo: "the limits that were in force before, at the end of the expiry at the latest",
        recover: &["traffic.success_rate", TRAFFIC],
    },
    Template {
        action: "rotate_certificate",
        symptom: "security.certificate_expiring",
        group: "cert-manager.io",
        kind: "Certificate",
        needs: &["certificate"],
        refusal: ["facts.certificate.issuing", "an issuance is under way"],
        refused: "all.certificate.issuing = true;",
        call: "rotate_certificate(facts.certificate)",
        undo: "none, the old certificate stays valid until its end",
        recover: &["security.certificate_validity", TRAFFIC],
    },
];

/// Facts as an inspection finds them, to test with.
const FACTS: &[(&str, &str)] = &[
    (
        "route",
        "#{\n            group: \"networking.istio.io\", kind: \"VirtualService\", namespace: \"shop\", name: \"cart\", uid: \"u-1\",\n            spec_hash: hash(\"b2\"), hosts: [\"cart.shop.svc.cluster.local\"], changed_s: 40, changed_by: \"kubectl-edit\",\n            managed_by: \"none\", destinations: [], delegate: false, wildcard: false, current_good: false,\n            last_good: #{ spec_hash: hash(\"a1\"), age_s: 900, manager: \"kubectl\", destinations: [] },\n        }",
    ),
    ("traffic", "#{ requests: 1200.0, error_rate: 0.31, success_rate: 0.69, window_s: 60 }"),
    (
        "pod",
        "#{\n            namespace: \"shop\", name: \"cart-1\", uid: \"u-1\", node: \"node-1\", phase: \"Running\",\n            restart_policy: \"Always\", owner: #{ kind: \"Deployment\", name: \"cart\" }, labels: #{},\n            ready: false, others_ready: true, terminating: false, age_s: 3600,\n        }",
    ),
    (
        "proxy",
        "#{\n            mesh: \"istio\", container: \"istio-proxy\", container_id: \"containerd://1\", native: true, version: \"1.30.3\",\n            ready: false, restarts: 0, answering: false, sync_state: \"synced\", rejected: false,\n        }",
    ),
    (
        "control_plane",
        "#{\n            mesh: \"istio\", revision: \"default\", namespace: \"istio-system\", name: \"istiod\",\n            replicas: 2, ready_replicas: 2, version: \"1.30.3\",\n        }",
    ),
    (
        "workload",
        "#{\n            kind: \"Deployment\", namespace: \"shop\", name: \"cart\", uid: \"u-2\", generation: 4, replicas: 3, ready: 3,\n            updating: false, age_of_change_s: 86400, managed_by: \"none\",\n        }",
    ),
    (
        "budget",
        "#{\n            name: \"cart\", disruptions_allowed: 1, current_healthy: 3, desired_healthy: 2,\n            unhealthy_policy: \"IfHealthyBudget\",\n        }",
    ),
    (
        "destination_rule",
        "#{\n            namespace: \"shop\", name: \"cart\", uid: \"u-3\", spec_hash: hash(\"a1\"), host: \"cart.shop.svc.cluster.local\",\n            limits: #{}, managed_by: \"none\", shed: false, changed_s: 86400, changed_by: \"kubectl\", current_good: true,\n        }",
    ),
    (
        "certificate",
        "#{\n            namespace: \"shop\", name: \"cart\", uid: \"u-4\", not_after_s: 3600, renewal_s: -7200, life_s: 86400,\n            issuing: false, issuer_ready: true, revision: 3, failed_attempts: 0,\n        }",
    ),
];

/// A playbook of this name around an act, for a symptom or the one that the act is mostly for.
///
/// # Errors
/// There is no such act.
pub fn playbook(name: &str, symptom: Option<&str>, action: &str) -> Result<String, String> {
    let template = TEMPLATES.iter().find(|template| template.action == action);
    let template = template
        .filter(|_| Action::NAMES.contains(&action))
        .ok_or_else(|| format!("no act is called {action:?}; known: {}", Action::NAMES.join(", ")))?;
    let indicators = Rules::load(&super::RuleFiles::embedded(), None)
        .map(|loaded| loaded.rules.indicators)
        .map_err(|_| "the built-in rules do not load".to_owned())?;
    let recover = template.recover.iter().find(|id| indicators.get(id).is_some());
    let mut text = head(name, template, symptom.unwrap_or(template.symptom), recover.copied());
    text.push_str(&tests(template, symptom.unwrap_or(template.symptom)));
    Ok(text)
}

fn head(name: &str, template: &Template, symptom: &str, recover: Option<&str>) -> String {
    let Template { action, kind, needs, refusal: [when, words], call, undo, .. } = template;
    let needs: Vec<String> = needs.iter().map(|need| format!("\"{need}\"")).collect();
    let recover = recover.map_or_else(String::new, |indicator| {
        format!(
            "        // How to tell whether it helped: not critical for `hold` without a break, within `within`.\n        \
             recover: #{{ indicator: \"{indicator}\", soak: \"5s\", within: \"2m\", hold: \"30s\" }},\n"
        )
    });
    format!(
        r#"//! {title}: say here in one sentence what this playbook heals.
//!
//! Hears:   {symptom} on a {kind}.
//! Does:    {action}.
//! Undo:    {undo}.
//! Refuses: whatever it is not surely right for; see plan() below.

fn about() {{
    #{{
        // What it listens to: symptom("component.condition") or alert("Name", #{{ label: "value" }}).
        on: [symptom("{symptom}")],
        // Facts that are read before plan() is asked. One that cannot be read is a refusal of its own, unless
        // it is marked with "?": then it may be absent.
        needs: [{needs}],
{recover}        // Higher is asked first; the first playbook that yields a plan wins.
        priority: 10,
    }}
}}

// The finer match. `this` is the signal: symptom, subject, severity, value, labels, alert.
fn applies() {{ this.subject.kind == "{kind}" }}

// `this` is the incident: id, symptom, subject, severity, value, since_s, signals, attempts.
fn plan(facts) {{
    // Refuse in words that help who is woken instead; they stand on the incident.
    if {when} {{ return refuse("{words}"); }}
    [{call}]
}}

// Asked after an act that did not help.
fn next(history) {{
    if history.attempts >= 2 {{ escalate("two tries did not help") }} else {{ retry() }}
}}
"#,
        title = title(name),
        needs = needs.join(", "),
    )
}

fn title(name: &str) -> String {
    let words = name.replace('-', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn tests(template: &Template, symptom: &str) -> String {
    let Template { action, group, kind, needs, refusal: [_, words], refused, .. } = template;
    let namespace = if *kind == "Namespace" { String::new() } else { "namespace: \"shop\", ".to_owned() };
    let refused = if refused.is_empty() {
        "        #{ name: \"told too often\", signal: ill(), facts: facts(), incident: #{ signals: 101 }, expect: #{ refuse: \""
            .to_owned()
    } else {
        "        #{ name: \"refused\", signal: ill(), facts: refused(), expect: #{ refuse: \"".to_owned()
    } + *words
        + "\" } },\n";
    let mut text = format!(
        r#"
// Run them with: meshmend playbook test
fn tests() {{
    [
        #{{ name: "acts", signal: ill(), facts: facts(), expect: [#{{ action: "{action}" }}] }},
{refused}        #{{ name: "something else is not ours", signal: ill() + #{{ subject: #{{ kind: "Node", name: "node-1" }} }}, expect: "no_match" }},
    ]
}}

fn ill() {{
    #{{
        symptom: "{symptom}", severity: "critical",
        subject: #{{ group: "{group}", kind: "{kind}", {namespace}name: "cart" }},
    }}
}}

fn facts() {{
    #{{
"#
    );
    let mut hashes = false;
    for need in *needs {
        let need = need.trim_end_matches('?');
        let fact = FACTS.iter().find(|(name, _)| *name == need).map_or("#{}", |(_, fact)| fact);
        hashes |= fact.contains("hash(");
        // Writing to a String cannot fail.
        writeln!(text, "        {need}: {fact},").ok();
    }
    text.push_str("    }\n}\n");
    if hashes {
        text.push_str("\nfn hash(end) { \"sha256:00000000000000000000000000000000000000000000000000000000000000\" + end }\n");
    }
    if !template.refused.is_empty() {
        writeln!(text, "\nfn refused() {{\n    let all = facts();\n    {}\n    all\n}}", template.refused)
            .ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::files::RuleFiles;
    use super::*;

    // Mutation: a fact left out of a template, or one with a field that the inspector does not know.
    #[test]
    fn every_act_has_a_template_that_compiles_and_passes_its_tests() {
        for action in Action::NAMES {
            for symptom in [None, Some("custom.slow")] {
                let text = playbook("my-first-one", symptom, action).expect("it has a template");
                let mut files = RuleFiles::embedded();
                files.playbooks.insert("my-first-one.rhai".to_owned(), text.clone());
                let loaded =
                    Rules::load(&files, None).unwrap_or_else(|notes| panic!("{action}: {notes:?}\n{text}"));
                let made = loaded.rules.playbooks.get("my-first-one").expect("it is there");
                let results = made.test();
                assert!(results.len() >= 3, "{action}: {results:?}");
                assert!(results.iter().all(|test| test.passed), "{action}: {results:?}\n{text}");
            }
        }
        assert!(playbook("x", None, "reboot_node").is_err());
    }
}
