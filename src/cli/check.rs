//! `meshmend playbook check|test` and `meshmend policy check`.

use serde_json::json;

use super::commands::{Folder, Output};
use super::people;
use super::{FINDINGS, FINE, Usage};
use crate::app::files;
use crate::rules::{Loaded, Note, RuleFiles, Rules};

/// The files of a folder, playbooks or policies; the rest stays as embedded.
fn read(folder: &Folder, policies: Kind) -> anyhow::Result<RuleFiles> {
    let path = folder.folder.as_deref();
    if let Some(path) = path.filter(|path| !path.is_dir()) {
        return Err(Usage(format!("{} is not a folder", path.display())).into());
    }
    match policies {
        Kind::Playbooks => files::read(path, None),
        Kind::Policies => files::read(None, path),
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Playbooks,
    Policies,
}

fn tell(notes: &[Note], folder: &Folder, good: &str) -> anyhow::Result<u8> {
    if folder.output == Output::Json {
        people::json(&json!({ "notes": notes }))?;
    } else {
        notes.iter().for_each(|note| people::say(note.to_string()));
        if notes.is_empty() {
            people::say(good);
        }
    }
    Ok(if notes.is_empty() { FINE } else { FINDINGS })
}

pub(super) fn playbooks(folder: &Folder) -> anyhow::Result<u8> {
    match Rules::load(&read(folder, Kind::Playbooks)?, None) {
        Ok(Loaded { rules, warnings }) => {
            if folder.output == Output::Table {
                let rows: Vec<[String; 3]> = rules
                    .playbooks
                    .iter()
                    .map(|playbook| {
                        [playbook.name.clone(), playbook.priority.to_string(), playbook.title.clone()]
                    })
                    .collect();
                people::table(["PLAYBOOK", "PRIORITY", "WHAT IT DOES"], &rows);
            }
            tell(&warnings, folder, "all playbooks are in order")
        }
        Err(notes) => tell(&notes, folder, ""),
    }
}

pub(super) fn policies(folder: &Folder) -> anyhow::Result<u8> {
    match Rules::load(&read(folder, Kind::Policies)?, None) {
        Ok(Loaded { rules, warnings }) => {
            let count = rules.policies.iter().count();
            tell(&warnings, folder, &format!("{count} policies are in order"))
        }
        Err(notes) => tell(&notes, folder, ""),
    }
}

pub(super) fn test_playbooks(folder: &Folder) -> anyhow::Result<u8> {
    let rules = match Rules::load(&read(folder, Kind::Playbooks)?, None) {
        Ok(loaded) => loaded.rules,
        Err(notes) => return tell(&notes, folder, ""),
    };
    let mut all = Vec::new();
    let mut failed = 0;
    for playbook in rules.playbooks.iter() {
        for result in playbook.test() {
            if !result.passed {
                failed += 1;
            }
            if folder.output == Output::Table {
                let mark = if result.passed { "ok  " } else { "FAIL" };
                people::say(format!("{mark}  {}: {}", playbook.name, result.name));
                if !result.passed {
                    people::say(format!("      {}", result.detail));
                }
            }
            all.push(json!({ "playbook": playbook.name, "test": result }));
        }
    }
    if folder.output == Output::Json {
        people::json(&json!({ "tests": all, "failed": failed }))?;
    } else {
        people::say(format!("{} tests, {failed} failed", all.len()));
    }
    Ok(if failed == 0 { FINE } else { FINDINGS })
}
