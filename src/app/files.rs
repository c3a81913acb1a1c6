//! Rule files from folders, with every mistake told at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::config::Unusable;
use crate::model::verdict::Mode;
use crate::rules::{Loaded, Note, RuleFiles, Rules};

/// Rule files that cannot be used: what is wrong, by file and line.
#[derive(Debug)]
pub struct Mistakes(pub Vec<Note>);

impl std::fmt::Display for Mistakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

/// The files of these folders; where none is given, the embedded ones.
///
/// # Errors
/// A folder cannot be read.
pub fn read(playbooks: Option<&Path>, policies: Option<&Path>) -> anyhow::Result<RuleFiles> {
    let mut files = RuleFiles::embedded();
    if let Some(folder) = playbooks {
        files.playbooks = folder_files(folder, "rhai")?;
        not_empty(&files.playbooks, "playbook (*.rhai)", folder)?;
    }
    if let Some(folder) = policies {
        files.policies = folder_files(folder, "yaml")?;
        not_empty(&files.policies, "policy (*.yaml)", folder)?;
    }
    Ok(files)
}

fn not_empty(files: &BTreeMap<String, String>, what: &str, folder: &Path) -> Result<(), Unusable> {
    if files.is_empty() {
        Err(Unusable(format!("there is no {what} in {}", folder.display())))
    } else {
        Ok(())
    }
}

/// Reads and checks.
///
/// # Errors
/// A folder cannot be read, or [`Mistakes`].
pub fn load(
    playbooks: Option<&Path>,
    policies: Option<&Path>,
    cap: Option<Mode>,
) -> anyhow::Result<(RuleFiles, Loaded)> {
    let files = read(playbooks, policies)?;
    let loaded = Rules::load(&files, cap).map_err(Mistakes)?;
    Ok((files, loaded))
}

/// Files of a folder with this ending, by name; sub-folders are left alone.
fn folder_files(folder: &Path, ending: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let entries = fs::read_dir(folder)
        .with_context(|| Unusable(format!("the folder {} cannot be read", folder.display())))?;
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_file() && path.extension().is_some_and(|found| found == "yml") {
            return Err(Unusable(format!("{} would not be read: name it .yaml", path.display())).into());
        }
        if path.is_file() && path.extension().is_some_and(|found| found == ending) {
            let text = fs::read_to_string(&path)
                .with_context(|| Unusable(format!("{} cannot be read", path.display())))?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            files.insert(name, text);
        }
    }
    Ok(files)
}
