//! The binary as people use it: exit codes, messages, tables, JSON.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use meshmend::rules::{RuleFiles, Rules};
use serde_json::Value;

/// Runs the binary away from the home of whoever runs the tests.
fn meshmend(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshmend"));
    command.args(args).current_dir(folder).env_clear().env("HOME", folder);
    command.output().expect("the binary can be started")
}

/// Exit code, standard output, standard error.
pub(crate) fn ran(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = meshmend(folder, args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

pub(crate) fn demo(folder: &Path) -> Value {
    let (code, out, err) = ran(folder, &["demo", "--fast", "--seed", "7", "-o", "json", "--keep", "out"]);
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).expect("a JSON summary")
}

#[test]
fn the_demo_leaves_a_journal_that_can_be_verified_replayed_and_explained() {
    let dir = folder();
    let summary = demo(dir.path());
    let healed = |name: &str| {
        let faults = summary["faults"].as_array().expect("a list").iter();
        faults.clone().find(|fault| fault["name"] == name && fault["outcome"] == "recovered").cloned()
    };
    for name in ["hung_proxy", "bad_route", "overload", "expiring_certificate"] {
        assert!(healed(name).is_some(), "{name} is not healed: {summary}");
    }
    assert!(summary["refused"]["reason"].as_str().expect("a reason").contains("less than ten minutes ago"));
    assert!(summary["undone"]["reason"].as_str().expect("a reason").contains("restored"));
    let journal = "out/journal.db";
    let (code, out, _) = ran(dir.path(), &["audit", "verify", "--journal", journal]);
    assert_eq!(code, 0);
    assert!(out.contains(&format!("{} records, chain unbroken", summary["records"])), "{out}");
    assert_eq!(ran(dir.path(), &["replay", "--journal", journal]).0, 0);
    let route = healed("bad_route").expect("it was healed");
    let id = route["incident"].as_str().expect("an id");
    let (code, out, _) = ran(dir.path(), &["explain", id, "--journal", journal]);
    assert_eq!(code, 0);
    for word in ["heard", "found", "not used", "plan ", "gate ", "verdict", "did ", "measured", "resolved"] {
        assert!(out.contains(word), "{word:?} is missing in:\n{out}");
    }
    let (code, _, err) = ran(dir.path(), &["explain", "nobody-00001", "--journal", journal]);
    assert_eq!(code, 1);
    assert!(err.contains("meshmend audit show"), "{err}");
    // A second run does not write over the first.
    let (code, _, err) = ran(dir.path(), &["demo", "--fast", "--keep", "out"]);
    assert_eq!(code, 64);
    assert!(err.contains("another folder"), "{err}");
}

#[test]
fn a_broken_journal_is_a_finding_with_its_record() {
    let dir = folder();
    demo(dir.path());
    let db = rusqlite::Connection::open(dir.path().join("out/journal.db")).unwrap();
    db.execute("UPDATE records SET body = replace(body, 'cart', 'card') WHERE seq = 12", []).unwrap();
    drop(db);
    let (code, out, _) = ran(dir.path(), &["audit", "verify", "--journal", "out/journal.db"]);
    assert_eq!(code, 2);
    assert!(out.contains("record 12"), "{out}");
    let (code, out, _) = ran(dir.path(), &["audit", "verify", "--journal", "out/journal.db", "-o", "json"]);
    assert_eq!(code, 2);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["broken"]["seq"], 12);
}

#[test]
fn a_replay_with_another_policy_is_a_finding() {
    let dir = folder();
    demo(dir.path());
    fs::create_dir(dir.path().join("policies")).unwrap();
    let policy =
        "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: { name: x }\nspec: { mode: observe }\n";
    fs::write(dir.path().join("policies/x.yaml"), policy).unwrap();
    let args = ["replay", "--journal", "out/journal.db", "--policies", "policies"];
    let (code, out, _) = ran(dir.path(), &args);
    assert_eq!(code, 2, "{out}");
    assert!(out.contains("6 decisions differ"), "{out}");
}

#[test]
fn every_listing_speaks_json_as_documented() {
    let dir = folder();
    demo(dir.path());
    let (code, out, _) = ran(dir.path(), &["audit", "show", "--journal", "out/journal.db", "-o", "json"]);
    assert_eq!(code, 0);
    for line in out.lines() {
        let record: Value = serde_json::from_str(line).expect("one record a line");
        let keys: Vec<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["at", "changes", "event", "hash", "incident", "kind", "prev", "seq"]);
    }
    for args in [
        &["playbook", "check", "-o", "json"][..],
        &["playbook", "test", "-o", "json"],
        &["policy", "check", "-o", "json"],
        &["config", "show", "-o", "json"],
        &["replay", "--journal", "out/journal.db", "-o", "json"],
        &["explain", "d7-00001", "--journal", "out/journal.db", "-o", "json"],
    ] {
        let (code, out, err) = ran(dir.path(), args);
        assert_eq!(code, 0, "{args:?}: {err}");
        assert!(serde_json::from_str::<Value>(&out).is_ok(), "{args:?}: {out}");
    }
}

#[test]
fn what_people_read_fits_80_columns_and_has_no_colour_off_a_terminal() {
    let dir = folder();
    demo(dir.path());
    for args in [
        &["demo", "--fast"][..],
        &["audit", "show", "--journal", "out/journal.db"],
        &["playbook", "check"],
        &["playbook", "test"],
        &["config", "show"],
        &["--help"],
        &["demo", "--help"],
        &["run", "--help"],
        &["pause", "--help"],
        &["abort", "--help"],
        &["windows", "--help"],
        &["health", "--help"],
        &["windows"],
        &["explain", "d7-00001", "--journal", "out/journal.db"],
    ] {
        let (code, out, err) = ran(dir.path(), args);
        assert_eq!(code, 0, "{args:?}: {err}");
        assert!(!out.contains('\u{1b}'), "{args:?} colours what is no terminal");
        let explains = args[0] == "explain";
        let wide: Vec<&str> = out.lines().filter(|line| line.chars().count() > 80 && !explains).collect();
        assert!(wide.is_empty(), "{args:?}: {wide:#?}");
    }
}

#[test]
fn the_shipped_playbooks_pass_their_own_tests() {
    let dir = folder();
    let (code, out, _) = ran(dir.path(), &["playbook", "test"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("0 failed"), "{out}");
    assert!(out.matches("roll-back-virtual-service").count() >= 12, "each refusal has its test:\n{out}");
}

#[test]
fn mistakes_in_rules_are_told_all_at_once_with_file_and_line() {
    let dir = folder();
    let rules = dir.path().join("rules");
    fs::create_dir(&rules).unwrap();
    let policy = "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: { name: x }\nspec:\n  mode: yolo\n  \
                  scope: { namespaces: [] }\n  windows: []\n  limits: [ { per: target, acts: 2, window: 60 } ]\n";
    fs::write(rules.join("x.yaml"), policy).unwrap();
    fs::write(rules.join("y.yaml"), "a: [1\n").unwrap();
    let (code, out, _) = ran(dir.path(), &["policy", "check", "rules"]);
    assert_eq!(code, 2);
    for place in ["x.yaml:5:", "x.yaml:6:", "x.yaml:7:", "x.yaml:8:", "y.yaml:"] {
        assert!(out.contains(place), "{place} is missing in:\n{out}");
    }
    fs::write(
        rules.join("a.rhai"),
        "//! A\nfn about() { #{ on: [symptom(\"traffic.route_errors\")] } }\nfn plan(f) { [\n",
    )
    .unwrap();
    fs::write(rules.join("b.rhai"), "//! B\n\nfn about() { #{ on: [], colour: 1 } }\nfn plan(f) { [] }\n")
        .unwrap();
    let (code, out, _) = ran(dir.path(), &["playbook", "check", "rules"]);
    assert_eq!(code, 2);
    assert!(out.contains("a.rhai:") && out.contains("b.rhai:3:") && out.contains("colour"), "{out}");
}

#[test]
fn bad_usage_and_bad_configuration_exit_with_64_and_say_what_to_do() {
    let dir = folder();
    let config = "apiVersion: meshmend.dev/v1alpha1\nkind: Config\njournal: { sqlite: { path: j.db } }\n\
                  sorces: {}\nlisten: { api: here }\n";
    fs::write(dir.path().join("m.yaml"), config).unwrap();
    fs::write(dir.path().join("k.yaml"), "not: [a kubeconfig").unwrap();
    for (args, code, words) in [
        (&["run", "--config", "m.yaml"][..], 64, &["m.yaml:4:", "sorces", "m.yaml:5:"][..]),
        (&["run", "--config", "nowhere.yaml"], 64, &["nowhere.yaml", "cannot be read"]),
        (&["run", "--kubeconfig", "k.yaml"], 64, &["k.yaml"]),
        (&["run", "--kubeconfig", "nowhere"], 64, &["nowhere"]),
        (&["run"], 64, &["--kubeconfig"]),
        (&["demo", "--speed"], 64, &["--speed"]),
        (&["playbook", "check", "nowhere"], 64, &["not a folder"]),
        (&["audit", "verify", "--journal", "nowhere.db"], 1, &["no journal"]),
        (&["replay", "--journal", "m.yaml"], 1, &["no journal of meshmend"]),
        (&["incidents"], 64, &["--server"]),
        (
            &["approve", "x-00001", "--server", "http://127.0.0.1:1", "--token-file", "m.yaml"],
            64,
            &["--plan"],
        ),
        (&["incidents", "--server", "http://127.0.0.1:1", "--token-file", "m.yaml"], 1, &["is it running"]),
    ] {
        let (found, out, err) = ran(dir.path(), args);
        assert_eq!(found, code, "{args:?}: {out}{err}");
        for word in words {
            assert!(err.contains(word), "{args:?}: {word:?} is missing in:\n{err}");
        }
    }
    assert_eq!(ran(dir.path(), &["--version"]).0, 0);
    assert_eq!(ran(dir.path(), &["completions", "bash"]).0, 0);
}

// Mutation: taking a commit that failed for one that was made.
#[test]
fn a_full_disk_stops_the_work_and_says_so() {
    let dir = folder();
    // The limit of the shell makes every write beyond it fail, as a full disk does.
    let script = format!(
        "trap '' XFSZ; ulimit -f 400; exec {:?} demo --fast --keep out",
        env!("CARGO_BIN_EXE_meshmend")
    );
    let output = Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("journal not written"), "{err}");
    let (code, out, _) = ran(dir.path(), &["audit", "verify", "--journal", "out/journal.db"]);
    assert_eq!(code, 0, "what was durable before is whole: {out}");
}

// Mutation: renaming a fact, a function or a key without the README and the configuration beside it.
#[test]
fn what_the_readme_and_the_configuration_show_works_as_shown() {
    let dir = folder();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let block = readme.split("```rhai\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    fs::create_dir(dir.path().join("playbooks")).unwrap();
    fs::write(dir.path().join("playbooks/example.rhai"), block).unwrap();
    let (code, out, _) = ran(dir.path(), &["playbook", "check", "playbooks"]);
    assert_eq!(code, 0, "{out}");
    let (code, out, _) = ran(dir.path(), &["playbook", "test", "playbooks"]);
    assert_eq!(code, 0, "{out}");
    fs::copy(root.join("deploy/meshmend.yaml"), dir.path().join("meshmend.yaml")).unwrap();
    let (code, out, err) = ran(dir.path(), &["config", "show", "--config", "meshmend.yaml"]);
    assert_eq!(code, 0, "{out}{err}");
    for folder in ["policies", "policies/examples"] {
        let folder = root.join(folder).display().to_string();
        let (code, out, _) = ran(dir.path(), &["policy", "check", &folder]);
        assert_eq!(code, 0, "{out}");
    }
}

// Mutations: a symptom that is shipped and not told of; one in the table that nothing tells; a shipped indicator or
// playbook that is called otherwise; a failure mode that is left out.
#[test]
fn the_table_of_failures_names_every_symptom_that_is_shipped_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let table = readme.split("| failure | symptom |").nth(1).expect("the table is there");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<&str>> =
        rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect();
    let words =
        |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rules = Rules::load(&RuleFiles::embedded(), None).unwrap().rules;
    let triggers = rules.indicators.iter().filter_map(|indicator| indicator.trigger.as_ref());
    let mut shipped: Vec<String> = triggers.map(|trigger| trigger.symptom.to_string()).collect();
    shipped.extend(meshmend::health::symptoms().map(str::to_owned));
    let mut named: Vec<String> = rows.iter().flat_map(|row| words(row[1])).collect();
    for list in [&mut shipped, &mut named] {
        list.sort();
        list.dedup();
    }
    assert_eq!(named, shipped);
    assert!(rows.iter().all(|row| row.len() == 4 && !row[3].is_empty()), "{rows:?}");
    // What is not seen says why, and what is measured or healed is there.
    for row in &rows {
        assert_eq!(row[1] == "-", row[2] == "-", "{row:?}");
        let named = |word: &&String| word.contains(['.', '-']) && *word != "istio-validation";
        for word in words(row[3]).iter().filter(named) {
            let indicator = rules.indicators.get(word).is_some();
            assert!(indicator || rules.playbooks.get(word).is_some(), "{word}");
        }
    }
    assert_eq!(rows.len(), 43, "35 failure modes, and eight of the parts that a mesh leans on");
}

// Mutation: times in UTC in place of the policy's zone.
#[test]
fn windows_tells_when_acting_is_allowed_in_the_zone_of_the_policy() {
    let dir = folder();
    fs::create_dir(dir.path().join("rules")).unwrap();
    let policy = "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: { name: shop }\nspec:\n  \
                  mode: enforce\n  windows: [ { deny: \"Fri 16:00 - Mon 08:00\", zone: Europe/Berlin } ]\n  \
                  freezes: [ { from: 2026-01-06T00:00:00Z, to: 2026-01-07T00:00:00Z, reason: sale } ]\n";
    fs::write(dir.path().join("rules/shop.yaml"), policy).unwrap();
    let args = ["windows", "--policies", "rules", "--at", "2026-01-03T12:00:00Z"];
    let (code, out, err) = ran(dir.path(), &args);
    assert_eq!(code, 0, "{err}");
    for words in ["deny Fri 16:00 - Mon 08:00 Europe/Berlin", "closed now, opens Mon 01-05 08:00 CET", "sale"]
    {
        assert!(out.contains(words), "{words:?} is missing in:\n{out}");
    }
    let json = [&args[..], &["-o", "json"]].concat();
    let found: Value = serde_json::from_str(&ran(dir.path(), &json).1).expect("JSON");
    let shop = &found["policies"][0];
    assert_eq!((&shop["open_now"], &shop["opens"]), (&false.into(), &"2026-01-05T07:00:00Z".into()));
    assert_eq!(shop["open"][0]["to"], "2026-01-06T00:00:00Z");
    assert_eq!(shop["open"][1]["from"], "2026-01-07T00:00:00Z");
}

#[test]
fn the_help_of_every_command_shows_how_it_is_called() {
    let dir = folder();
    for command in [
        &["demo"][..],
        &["run"],
        &["plan"],
        &["health"],
        &["replay"],
        &["explain"],
        &["incidents"],
        &["approve"],
        &["deny"],
        &["abort"],
        &["pause"],
        &["resume"],
        &["pauses"],
        &["restore"],
        &["history", "bless"],
        &["playbook", "check"],
        &["playbook", "test"],
        &["playbook", "new"],
        &["policy", "check"],
        &["windows"],
        &["audit", "show"],
        &["audit", "export"],
        &["audit", "verify"],
        &["rbac"],
        &["config", "show"],
        &["sim"],
        &["completions"],
    ] {
        let (code, out, _) = ran(dir.path(), &[command, &["--help"]].concat());
        let example = format!("meshmend {}", command.join(" "));
        // Mutation: a command without examples.
        assert!(code == 0 && out.contains("Example") && out.contains(&example), "{command:?}: {out}");
    }
}
