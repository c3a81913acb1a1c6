//! Tidy: what the architecture promises to leave out, checked on the text of every file.
//!
//! Each rule names what breaks it, file and line; a rule that no file could break would be none, so the last
//! test feeds each of them a text that must be found.

use std::fs;
use std::path::{Path, PathBuf};

/// A layer with what its files may name of this crate, and what they may not name at all.
struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
    never: &'static [&'static str],
}

/// Words of the outside world. Pure layers may not even spell them.
const WORLD: &[&str] = &[
    "tokio::",
    "kube::",
    "k8s_openapi::",
    "tracing::",
    "reqwest::",
    "rusqlite::",
    "axum::",
    "std::fs",
    "std::env",
    "std::net",
    "std::thread",
    "std::process",
    "std::time::Instant",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "TimeZone::system",
    "TimeZone::get",
    "tz::db(",
    "rand::",
    "SystemRandom",
    "async fn",
    ".await",
    "println!",
    "eprintln!",
];

/// Iteration order of hash maps differs from run to run, and with it a decision.
const UNORDERED: &[&str] = &["HashMap", "HashSet"];

const LAYERS: &[Layer] = &[
    Layer { name: "model", may_use: &["model"], never: WORLD },
    Layer { name: "promql", may_use: &["promql", "model"], never: WORLD },
    Layer { name: "yaml", may_use: &["model"], never: WORLD },
    Layer { name: "rules", may_use: &["rules", "model", "promql", "yaml"], never: WORLD },
    Layer { name: "health", may_use: &["health", "model", "rules"], never: WORLD },
    Layer { name: "engine", may_use: &["engine", "model", "rules"], never: WORLD },
    Layer { name: "clock", may_use: &["model"], never: &["kube::", "axum::"] },
    Layer { name: "config", may_use: &["model", "yaml"], never: &["kube::", "tokio::"] },
    Layer { name: "cluster", may_use: &["cluster", "model"], never: &["rusqlite::", "rhai::"] },
    Layer { name: "sources", may_use: &["model", "cluster", "clock"], never: &["rusqlite::", "rhai::"] },
    Layer {
        name: "effectors",
        may_use: &["effectors", "model", "cluster", "clock", "engine::gate::Permit"],
        never: &["rusqlite::", "rhai::"],
    },
    Layer {
        name: "journal",
        may_use: &["journal", "model", "clock"],
        never: &["kube::", "axum::", "rhai::"],
    },
    Layer { name: "sim", may_use: &["sim", "model", "promql", "clock"], never: &["rusqlite::", "rhai::"] },
    Layer { name: "api", may_use: &["api", "model", "journal", "config"], never: &["kube::", "rhai::"] },
];

/// Production lines of a file; a file of tests may have twice as many.
const MAX_LINES: usize = 400;
/// Names that say nothing of what a type is.
const FORBIDDEN_NAMES: &[&str] = &["Handler", "Manager", "Processor", "Helper", "Util", "Context"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder, with paths relative to the repository.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).expect("the folder is part of the repository") {
            let path = entry.expect("a folder can be read to its end").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                found.push((relative(&path), text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} holds no Rust file");
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("it lies below the root").to_string_lossy().into_owned()
}

/// Production lines: those above the first test module.
fn production(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.lines().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(usize::MAX);
    text.lines().enumerate().take(end).map(|(index, line)| (index + 1, line))
}

/// The code of a line, without its comment.
fn code(line: &str) -> &str {
    let trimmed = line.trim_start();
    if trimmed.starts_with("//") { "" } else { line.split(" // ").next().unwrap_or(line) }
}

fn layer_of(path: &str) -> Option<&'static Layer> {
    let part = path.strip_prefix("src/")?.split(['/', '.']).next()?;
    LAYERS.iter().find(|layer| layer.name == part)
}

fn layer_faults(path: &str, text: &str) -> Vec<String> {
    let Some(layer) = layer_of(path) else { return Vec::new() };
    let mut faults = Vec::new();
    for (number, line) in production(text) {
        let line = code(line);
        for (at, _) in line.match_indices("crate::") {
            let named = &line[at + "crate::".len()..];
            let fits = |allowed: &&str| {
                named
                    .strip_prefix(*allowed)
                    .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
            };
            if !named.starts_with("model") && !layer.may_use.iter().any(fits) {
                faults.push(format!("{path}:{number}: {} may not use crate::{named}", layer.name));
            }
        }
        let unordered = if layer.name == "engine" { UNORDERED } else { &[] };
        for word in layer.never.iter().chain(unordered).filter(|word| line.contains(**word)) {
            faults.push(format!("{path}:{number}: {} may not name {word}", layer.name));
        }
    }
    faults
}

fn form_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!("{path}:1: the file does not begin with its doc (//!)"));
    }
    let lines = production(text).count();
    let most = if path.starts_with("tests/") { 2 * MAX_LINES } else { MAX_LINES };
    if lines > most {
        faults.push(format!("{path}: {lines} lines, {most} are the end"));
    }
    if path.ends_with("/mod.rs") {
        faults.push(format!("{path}: modules are named after their file, not mod.rs"));
    }
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let unfinished =
            ["todo!", "unimplemented!", "FIXME", "TODO", "#[ignore"].iter().find(|w| line.contains(*w));
        if let Some(word) = unfinished {
            faults.push(format!("{path}:{number}: {word}"));
        }
        let named =
            ["struct ", "enum ", "trait ", "type "].iter().find_map(|word| code(line).split_once(word));
        let name =
            named.map(|(_, rest)| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default());
        if name.is_some_and(|name| FORBIDDEN_NAMES.iter().any(|word| name.ends_with(word))) {
            faults.push(format!("{path}:{number}: a name that says nothing: {}", name.unwrap_or_default()));
        }
    }
    faults
}

/// Who may mint a permit, and who may be asked to write with one.
fn permit_faults(path: &str, text: &str) -> Vec<String> {
    let mint = path != "src/app/driver.rs" && path != "src/engine/gate.rs";
    let wish = !path.starts_with("src/engine/") && path != "src/app/driver.rs" && path != "src/app/outbox.rs";
    let mut faults = Vec::new();
    for (number, line) in production(text).filter(|_| path.starts_with("src/")) {
        if mint && code(line).contains("gate::permit(") {
            faults.push(format!("{path}:{number}: only the driver mints permits, after the commit"));
        }
        if wish && code(line).contains("Effect::Execute") && path != "src/app/preview.rs" {
            faults.push(format!("{path}:{number}: only the engine wishes for a write"));
        }
    }
    faults
}

fn check(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

// Mutation: `use crate::journal::Head;` in any file of src/engine.
#[test]
fn layers_use_only_what_lies_below_them() {
    check(files("src").iter().flat_map(|(path, text)| layer_faults(path, text)).collect());
}

// Mutation: taking the first line of any file away.
#[test]
fn every_file_says_what_it_is_for_and_stays_small() {
    let all = files("src").into_iter().chain(files("tests"));
    let others = all.filter(|(path, _)| path != "tests/tidy.rs");
    check(others.flat_map(|(path, text)| form_faults(&path, &text)).collect());
}

// Mutation: calling `gate::permit` in src/app/run.rs.
#[test]
fn permits_are_minted_in_one_place() {
    check(files("src").iter().flat_map(|(path, text)| permit_faults(path, text)).collect());
}

// Mutation: a line `part ... --test agent` taken out of tests/run.sh.
#[test]
fn no_test_program_is_left_out_of_the_test_command() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("it is part of the repository");
    let (manifest, command) = (read("Cargo.toml"), read("tests/run.sh"));
    let named = manifest.split("[[test]]").skip(1).filter_map(|part| part.split('"').nth(1));
    let named: Vec<&str> = named.collect();
    assert!(named.contains(&"tidy"), "{named:?}");
    let runs = |name: &&&str| command.lines().any(|line| line.ends_with(&format!(" --test {name}")));
    let missing: Vec<&&str> = named.iter().filter(|name| !runs(name)).collect();
    assert!(missing.is_empty(), "tests/run.sh does not run {missing:?}");
    assert!(command.lines().any(|line| line.ends_with(" --lib")), "nor may it leave out the unit tests");
}

#[test]
fn the_top_level_holds_what_it_should() {
    let known = [
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "deploy",
        "playbooks",
        "policies",
        "src",
        "tests",
    ];
    let tracked = std::process::Command::new("git").args(["ls-files"]).current_dir(root()).output();
    // A source package outside of git has nothing to compare.
    let Some(tracked) = tracked.ok().filter(|found| found.status.success() && !found.stdout.is_empty())
    else {
        return;
    };
    let text = String::from_utf8_lossy(&tracked.stdout).into_owned();
    let mut odd: Vec<&str> = text.lines().filter_map(|path| path.split('/').next()).collect();
    odd.dedup();
    odd.retain(|name| !name.starts_with('.') && !known.contains(name));
    assert!(odd.is_empty(), "unexpected at the top level: {odd:?}");
}

#[test]
fn each_rule_finds_what_it_is_for() {
    let found = |faults: Vec<String>, word: &str| {
        assert!(faults.iter().any(|f| f.contains(word)), "{word}: {faults:?}")
    };
    found(layer_faults("src/engine/gate.rs", "use crate::journal::Head;"), "crate::journal");
    found(layer_faults("src/engine/gate.rs", "let at = Timestamp::now();"), "Timestamp::now");
    found(layer_faults("src/engine/gate.rs", "let map = HashMap::new();"), "HashMap");
    found(layer_faults("src/effectors/execute.rs", "use crate::engine::State;"), "crate::engine");
    assert!(layer_faults("src/effectors/execute.rs", "use crate::engine::gate::Permit;").is_empty());
    found(layer_faults("src/health/board.rs", "let x = call().await;"), ".await");
    found(form_faults("src/x.rs", "fn f() {}"), "doc");
    found(form_faults("src/x.rs", &"//! x\n".repeat(MAX_LINES + 1)), "lines");
    found(form_faults("src/x.rs", "//! x\nstruct PlanManager;"), "PlanManager");
    found(form_faults("src/x.rs", "//! x\n// TODO later"), "TODO");
    found(permit_faults("src/app/run.rs", "let p = gate::permit(&state, change);"), "mints");
}
