//! The tools around the agent as people use them: `rbac`, `playbook new`, `audit export`, `completions`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::binary::{demo, folder, ran};

const DEPLOYED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/rbac.yaml");
const ENFORCE: &str = include_str!("../../policies/examples/enforce.yaml");

/// A folder of policies with this text in it.
fn policies(dir: &Path, text: &str) -> String {
    let folder = dir.join("policies");
    fs::create_dir_all(&folder).expect("the folder is ours");
    fs::write(folder.join("observe.yaml"), include_str!("../../policies/observe.yaml"))
        .expect("the folder is ours");
    fs::write(folder.join("mine.yaml"), text).expect("the folder is ours");
    folder.to_str().expect("it is plain text").to_owned()
}

/// Objects that `rbac` prints as JSON.
fn objects(dir: &Path, args: &[&str]) -> Vec<Value> {
    let (code, out, err) = ran(dir, &[&["rbac", "-o", "json"], args].concat());
    assert_eq!(code, 0, "{err}");
    let list: Value = serde_json::from_str(&out).expect("it prints JSON");
    list["items"].as_array().expect("it is a list").clone()
}

/// Verbs beside those that read, with resource and namespace.
fn writes(objects: &[Value]) -> BTreeSet<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = BTreeSet::new();
    for role in objects.iter().filter(|object| object["rules"].is_array()) {
        for rule in role["rules"].as_array().expect("it was asked") {
            for verb in rule["verbs"].as_array().expect("a rule has verbs").iter().map(text) {
                if !["get", "list", "watch"].contains(&verb.as_str()) {
                    let namespace = text(&role["metadata"]["namespace"]);
                    found.insert((verb, text(&rule["resources"][0]), namespace));
                }
            }
        }
    }
    found
}

// Mutation: any change of a playbook, a policy or the table of rights without printing the file anew:
//   meshmend rbac --policies (policies/observe.yaml and policies/examples/enforce.yaml) > deploy/rbac.yaml
#[test]
fn the_shipped_roles_are_what_rbac_prints() {
    let dir = folder();
    let policies = policies(dir.path(), ENFORCE);
    let (code, out, err) = ran(dir.path(), &["rbac", "--policies", &policies]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(out, fs::read_to_string(DEPLOYED).unwrap(), "print deploy/rbac.yaml anew");
    let documents = serde_saphyr::from_multiple::<Value>(&out).unwrap();
    assert_eq!(documents, objects(dir.path(), &["--policies", &policies]), "YAML and JSON say the same");
}

// Mutations: rights for acts that no policy allows; a ClusterRole for a pattern; `--mode` that is ignored.
#[test]
fn rights_to_write_follow_the_policies() {
    let dir = folder();
    assert!(writes(&objects(dir.path(), &[])).is_empty(), "observe writes nothing");
    let policies = policies(dir.path(), ENFORCE);
    let acts = |namespace: &str| {
        [
            ("create", "destinationrules"),
            ("create", "pods/eviction"),
            ("create", "pods/portforward"),
            ("delete", "destinationrules"),
            ("patch", "certificates/status"),
            ("patch", "destinationrules"),
            ("patch", "virtualservices"),
        ]
        .map(|(verb, resource)| (verb.to_owned(), resource.to_owned(), namespace.to_owned()))
    };
    let found = writes(&objects(dir.path(), &["--policies", &policies]));
    assert_eq!(found, BTreeSet::from(acts("shop")));
    let named = ["--policies", &policies, "--namespace", "shop-eu", "--namespace", "mail"];
    let both = acts("shop").into_iter().chain(acts("shop-eu")).collect();
    assert_eq!(writes(&objects(dir.path(), &named)), both);
    assert!(writes(&objects(dir.path(), &["--policies", &policies, "--mode", "observe"])).is_empty());

    let account = objects(dir.path(), &["--service-account", "ops/healer"]);
    let subject = &account.iter().find(|object| object["subjects"].is_array()).unwrap()["subjects"][0];
    assert_eq!((&subject["namespace"], &subject["name"]), (&"ops".into(), &"healer".into()));
    for bad in ["healer", "ops/", "Ops/healer", "ops/he: {x}"] {
        assert_eq!(ran(dir.path(), &["rbac", "--service-account", bad]).0, 64, "{bad}");
    }
}

// Mutations: a template whose own test fails; writing over a file that is there.
#[test]
fn a_new_playbook_passes_its_tests_and_is_never_written_over() {
    let dir = folder();
    let made = ["playbook", "new", "tell-payments", "--symptom", "custom.slow"];
    let (code, out, err) = ran(dir.path(), &made);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("playbooks/tell-payments.rhai"), "{out}");
    let (code, out, _) = ran(dir.path(), &["playbook", "test", "playbooks"]);
    assert_eq!(code, 0, "{out}");
    assert_eq!(ran(dir.path(), &["playbook", "check", "playbooks"]).0, 0);

    let path = dir.path().join("playbooks/tell-payments.rhai");
    fs::write(&path, "mine").unwrap();
    let (code, _, err) = ran(dir.path(), &made);
    assert_eq!((code, fs::read_to_string(&path).unwrap().as_str()), (64, "mine"));
    assert!(err.contains("is there already"), "{err}");
    for bad in [
        &["playbook", "new", "Tell Me"][..],
        &["playbook", "new", "x", "--action", "reboot"],
        &["playbook", "new", "x", "--symptom", "no symptom"],
        &["playbook", "new", "../x"],
    ] {
        assert_eq!(ran(dir.path(), bad).0, 64, "{bad:?}");
    }
    assert_eq!(fs::read_dir(dir.path().join("playbooks")).unwrap().count(), 1, "nothing is left behind");
}

fn exported(dir: &Path, args: &[&str]) -> String {
    let (code, out, err) = ran(dir, &[&["audit", "export", "--journal", "out/journal.db"], args].concat());
    assert_eq!(code, 0, "{err}");
    out
}

// Mutations: lines that are written anew instead of as they are stored; a verification that does not compare
// hashes with documents, or signatures with the key; a redaction that leaves the hash.
#[test]
fn an_export_can_be_verified_without_the_journal() {
    let dir = folder();
    demo(dir.path());
    let verify = |folder: &str| ran(dir.path(), &["audit", "verify", "--journal", folder]);
    exported(dir.path(), &["--folder", "all", "--exact"]);
    exported(dir.path(), &["--folder", "some", "--from", "3", "--to", "9"]);
    fs::rename(dir.path().join("out"), dir.path().join("gone")).unwrap();
    let (code, out, err) = verify("all");
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("all signatures fit"), "{out}");
    let (code, out, err) = verify("some");
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("7 records"), "{out}");

    let spoil = |file: &str, edit: &dyn Fn(String) -> String| {
        let path = dir.path().join("all").join(file);
        let before = fs::read_to_string(&path).unwrap();
        let after = edit(before.clone());
        assert_ne!(before, after, "{file}: nothing was spoilt");
        fs::write(&path, after).unwrap();
        assert_eq!(verify("all").0, 2, "{file}");
        fs::write(&path, before).unwrap();
    };
    spoil("records.jsonl", &|text| text.replacen("cart", "card", 1));
    spoil("records.jsonl", &|text| text.lines().rev().skip(1).collect::<Vec<_>>().join("\n"));
    spoil("checkpoints.jsonl", &|text| text.replacen("\"signature\":\"", "\"signature\":\"00", 1));
    let blobs = fs::read_dir(dir.path().join("all/blobs")).unwrap();
    let blob = blobs.map(|entry| entry.unwrap().file_name().into_string().unwrap()).next().unwrap();
    spoil(&format!("blobs/{blob}"), &|text| format!("{text} "));
    assert_eq!(verify("all").0, 0, "whole again");
    let again = ["audit", "export", "--journal", "gone/journal.db", "--folder", "all"];
    assert_eq!(ran(dir.path(), &again).0, 1, "a folder that holds something is left alone");
}

#[test]
fn records_as_lines_can_be_narrowed_to_an_incident() {
    let dir = folder();
    let summary = demo(dir.path());
    let id = summary["faults"][1]["incident"].as_str().unwrap();
    let all = exported(dir.path(), &[]);
    assert_eq!(all.lines().count(), usize::try_from(summary["records"].as_u64().unwrap()).unwrap());
    let one = exported(dir.path(), &["--incident", id]);
    assert!(one.lines().count() > 5);
    for line in one.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["incident"], id);
    }
}

#[test]
fn every_shell_gets_its_completions() {
    let dir = folder();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, out, err) = ran(dir.path(), &["completions", shell]);
        assert_eq!(code, 0, "{shell}: {err}");
        assert!(out.contains("rbac") && out.contains("playbook"), "{shell}");
    }
    let (code, out, _) = ran(dir.path(), &["completions", "--help"]);
    assert_eq!(code, 0);
    assert!(["bash", "zsh", "fish", "powershell", "elvish"].iter().all(|shell| out.contains(shell)), "{out}");
}

// Mutation: granting the port-forward only where an act needs it leaves the checks of proxies to a 403.
#[test]
fn a_way_to_the_proxies_is_granted_where_one_is_configured() {
    let dir = folder();
    let head = "apiVersion: meshmend.dev/v1alpha1\nkind: Config\njournal: { sqlite: { path: j.db } }\n";
    for (sources, granted) in [
        ("{ kubernetes: {} }", false),
        ("{ proxies: { interval: 10s, via: pod_ip } }", false),
        ("{ proxies: { interval: 10s, via: port_forward } }", true),
        ("{ istiod: { interval: 10s } }", true),
    ] {
        let file = dir.path().join("meshmend.yaml");
        fs::write(file, format!("{head}sources: {sources}\n")).expect("it can be written");
        let (code, out, err) = ran(dir.path(), &["rbac", "--config", "meshmend.yaml"]);
        assert_eq!(code, 0, "{err}");
        assert_eq!(out.contains("pods/portforward"), granted, "{sources}:\n{out}");
    }
}
