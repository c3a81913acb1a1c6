//! `meshmend restore`: sheds taken back by the mark on the objects, with the agent and its journal gone.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::commands::{Output, Restore};
use super::people;
use super::{FINDINGS, FINE, Usage};
use crate::cluster::{Access, connect, told};
use crate::effectors::{Restored, Try, by_hand, marked};
use crate::model::subject::Subject;

pub(super) fn restore(args: &Restore) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let restored = runtime.block_on(all(args))?;
    let failed = restored.iter().any(|one| one.outcome.trouble().is_some());
    match args.output {
        Output::Json => {
            let rows: Vec<Value> = restored.iter().map(row).collect();
            people::json(&json!({ "dry_run": args.dry_run, "restored": rows }))?;
        }
        Output::Table => show(args, &restored),
    }
    Ok(if failed { FINDINGS } else { FINE })
}

async fn all(args: &Restore) -> anyhow::Result<Vec<Restored>> {
    let one = args.object.as_deref().map(name_of).transpose()?;
    let access = Access { kubeconfig: args.kubeconfig.clone(), context: args.context.clone() };
    let client = connect(&access).await?;
    let subjects = match one {
        Some(name) => {
            let namespace = args.namespace.as_deref().unwrap_or(client.default_namespace());
            vec![Subject::destination_rule(namespace, name)]
        }
        None => marked(&client, args.namespace.as_deref())
            .await
            .map_err(|error| anyhow::anyhow!(told(&error)))
            .context("the DestinationRules could not be listed")?,
    };
    let how = if args.dry_run { Try::Dry } else { Try::Real };
    let mut restored = Vec::with_capacity(subjects.len());
    // One after the other: whoever runs this wants to see where it stops.
    for subject in &subjects {
        restored.push(by_hand(&client, subject, how).await);
    }
    Ok(restored)
}

/// The name in `destinationrule/cart`; nothing else bears marks.
fn name_of(object: &str) -> Result<&str, Usage> {
    const KINDS: [&str; 3] = ["destinationrule", "destinationrules", "dr"];
    match object.split_once('/') {
        Some((kind, name)) if KINDS.contains(&kind.to_ascii_lowercase().as_str()) && !name.is_empty() => {
            Ok(name)
        }
        _ => Err(Usage(format!(
            "{object:?} is nothing that can be restored; write for instance destinationrule/cart"
        ))),
    }
}

/// The line that does the same without us.
fn line(one: &Restored) -> Option<String> {
    let subject = &one.subject;
    one.mark.as_ref().map(|mark| mark.by_hand(&subject.namespace, &subject.name))
}

fn row(one: &Restored) -> Value {
    let subject = &one.subject;
    json!({
        "kind": subject.kind, "namespace": subject.namespace, "name": subject.name,
        "incident": one.mark.as_ref().map(|mark| mark.incident.clone()),
        "expires": one.mark.as_ref().map(|mark| mark.expires),
        "result": one.outcome.name(), "why": one.outcome.trouble(), "by_hand": line(one), "diff": one.diff,
    })
}

fn show(args: &Restore, restored: &[Restored]) {
    if restored.is_empty() {
        let scope = args.namespace.as_ref().map_or_else(String::new, |name| format!(" in {name}"));
        people::say(format!("no DestinationRule bears a mark of a shed{scope}: nothing is to be restored"));
    }
    for one in restored {
        match one.outcome.trouble() {
            None => {
                let word = if args.dry_run { "would be restored" } else { "restored" };
                people::say(format!("{}: {word}", one.subject));
                if args.dry_run {
                    people::say(one.diff.trim_end());
                }
            }
            Some(why) => {
                people::say(format!("{}: not restored: {why}", one.subject));
                if let Some(line) = line(one) {
                    people::say(format!("  look at it, and if it is right all the same:\n  {line}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn only_what_can_bear_a_mark_is_taken() {
        assert_eq!(name_of("DestinationRule/cart").unwrap(), "cart");
        assert_eq!(name_of("dr/cart").unwrap(), "cart");
        for bad in ["cart", "virtualservice/cart", "dr/", "/cart"] {
            assert!(name_of(bad).is_err(), "{bad}");
        }
    }
}
