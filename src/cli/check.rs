//! `meshmend playbook check|test|new` and `meshmend policy check`.

use std::fs;
use std::io::Write as _;

use anyhow::Context as _;
use serde_json::json;

use super::commands::{Folder, New, Output};
use super::people;
use super::{FINDINGS, FINE, Usage};
use crate::app::files;
use crate::rules::{Loaded, Note, RuleFiles, Rules, template};

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

/// Writes a playbook to begin with. What is there is never written over.
pub(super) fn new_playbook(new: &New) -> anyhow::Result<u8> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if new.name.is_empty() || !new.name.bytes().all(fits) {
        let text = format!("{:?} is no name for a playbook: lower case, digits and - make one", new.name);
        return Err(Usage(text).into());
    }
    let text = template::playbook(&new.name, new.symptom.as_deref(), &new.action).map_err(Usage)?;
    let file = format!("{}.rhai", new.name);
    // Compiled before it is written: a symptom that is none is told now, with nothing left behind.
    let playbooks = [(file.clone(), text.clone())].into_iter().collect();
    let files = RuleFiles { playbooks, ..RuleFiles::embedded() };
    if let Err(notes) = Rules::load(&files, None) {
        let told: Vec<String> = notes.iter().map(ToString::to_string).collect();
        return Err(Usage(told.join("\n")).into());
    }
    let path = new.folder.join(file);
    fs::create_dir_all(&new.folder).with_context(|| format!("cannot make {}", new.folder.display()))?;
    let made = fs::OpenOptions::new().write(true).create_new(true).open(&path);
    let mut made = match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let text =
                format!("{} is there already; choose another name, or delete it first", path.display());
            return Err(Usage(text).into());
        }
        other => other.with_context(|| format!("cannot write {}", path.display()))?,
    };
    made.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    let folder = new.folder.display();
    people::say(format!("wrote {}", path.display()));
    people::say(format!("next: meshmend playbook test {folder}"));
    people::say("a folder of playbooks replaces the built-in ones: copy what you want to keep into it");
    Ok(FINE)
}
