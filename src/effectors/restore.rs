//! Restore: a shed is taken back by the mark it left on the object, exactly, or not at all.

use http::Method;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::Effectors;
use super::act::{Prepared, failed};
use super::wire::{Expect, JSON, Kind, Right, Run, Trouble, Wire, Write, text};
use crate::cluster::{limited, spec_diff};
use crate::model::action::Action;
use crate::model::digest::Digest;
use crate::model::history::FIELD_MANAGER;
use crate::model::mark::{Mark, RESTORE};
use crate::model::plan::Outcome;
use crate::model::subject::Subject;

impl Effectors {
    pub(super) async fn prepare_restore(&self, action: &Action, incident: &str) -> Result<Prepared, Trouble> {
        let Action::Restore { target, uid, was, of, .. } = action else {
            return Ok(Prepared::impossible("this action takes nothing back"));
        };
        let Some(found) = self.wire.get(target).await? else {
            // Whoever deleted it took the limits away with it.
            return Ok(Prepared::AlreadyDone);
        };
        if !uid.is_empty() && text(&found, "/metadata/uid") != uid {
            return Ok(Prepared::moot("it is another object of the same name"));
        }
        let back = of.is_some() || was.is_some_and(|was| was == spec_hash(&found));
        if mark_of(&found).is_none() && back {
            return Ok(Prepared::AlreadyDone);
        }
        let whose = match of {
            Some(of) => Whose::Orphan { incident: of },
            None => Whose::Incident { incident, created: uid.is_empty() },
        };
        Ok(undoing(target, &found, whose))
    }
}

/// Who takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose<'i> {
    /// The engine, for its own step; whether that step created the object.
    Incident { incident: &'i str, created: bool },
    /// The engine, for a step of an agent that is gone.
    Orphan { incident: &'i str },
    /// A person, whatever is marked.
    Person,
}

fn spec_hash(found: &Value) -> Digest {
    Digest::of_json(found.get("spec").unwrap_or(&Value::Null))
}

fn mark_of(found: &Value) -> Option<&str> {
    found.get("metadata")?.get("annotations")?.get(RESTORE)?.as_str()
}

/// The write that takes the shed back.
fn undoing(target: &Subject, found: &Value, whose: Whose<'_>) -> Prepared {
    let Some(text_of_mark) = mark_of(found) else {
        return Prepared::moot(
            "the object bears no mark of a shed any more, and its spec is not the one from before",
        );
    };
    let mark = match Mark::read(text_of_mark) {
        Ok(mark) => mark,
        Err(why) => return Prepared::Stale(why),
    };
    let fits = match whose {
        Whose::Incident { incident, created } => mark.incident == incident && mark.created == created,
        Whose::Orphan { incident } => mark.incident == incident,
        Whose::Person => true,
    };
    if !fits {
        return Prepared::moot("the mark on the object is not that of this step");
    }
    let now = spec_hash(found);
    if now != mark.spec {
        let (left, found) = (mark.spec.short(), now.short());
        return Prepared::Stale(format!(
            "somebody changed the object since the shed: it was left at revision {left} and is at {found}"
        ));
    }
    let Some(kind) = Kind::of(target) else {
        return Prepared::Impossible(format!("{target} is nothing that can be restored"));
    };
    let version = text(found, "/metadata/resourceVersion");
    let (Some(undo), Some(was)) = (mark.undo.as_ref().filter(|_| !mark.created), mark.was) else {
        if !is_created_by_us(found) {
            return Prepared::Stale(format!(
                "the mark says that {target} was made for the shed, but {FIELD_MANAGER} did not create it: it is not deleted"
            ));
        }
        return deletion(kind, target, found);
    };
    let body = json!({
        "metadata": { "annotations": { RESTORE: null }, "resourceVersion": version },
        "spec": undo,
    });
    let after = crate::model::merge::merged(&found["spec"], undo);
    Prepared::send(Write {
        // The server's own answer has to be what was before, to the last byte of its canonical form.
        expect: Expect::Spec(was),
        diff: spec_diff(&found["spec"], &after),
        done: format!("revision {} restored", was.short()),
        ..Write::merge(kind, target, body)
    })
}

/// Whether we wrote what no later writer of a rule has a reason to touch. Whoever copied a rule with our mark on
/// it has an object of their own.
fn is_created_by_us(found: &Value) -> bool {
    let managers = found.pointer("/metadata/managedFields").and_then(Value::as_array);
    managers
        .into_iter()
        .flatten()
        .any(|entry| entry["manager"] == FIELD_MANAGER && entry.pointer("/fieldsV1/f:spec/f:host").is_some())
}

/// The rule was made for the shed: it goes, if it is still the one and unchanged.
fn deletion(kind: Kind, target: &Subject, found: &Value) -> Prepared {
    let (uid, version) = (text(found, "/metadata/uid"), text(found, "/metadata/resourceVersion"));
    let body = json!({
        "apiVersion": "v1", "kind": "DeleteOptions",
        "preconditions": { "uid": uid, "resourceVersion": version },
    });
    Prepared::send(Write {
        right: Right { verb: "delete", resource: kind.resource },
        method: Method::DELETE,
        media: JSON,
        expect: Expect::Nothing,
        diff: spec_diff(&found["spec"], &Value::Null),
        done: "the rule that was made for the shed is deleted".to_owned(),
        ..Write::merge(kind, target, body)
    })
}

/// What came of one restore by hand.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The object.
    pub subject: Subject,
    /// The mark, where it could be read.
    pub mark: Option<Mark>,
    /// What came of it.
    pub outcome: Outcome,
    /// What it changes, for people.
    pub diff: String,
}

/// Whether a restore by hand is only tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// As a server-side dry run.
    Dry,
    /// For real.
    Real,
}

/// The marked objects: of one namespace, or of all where none is named.
///
/// # Errors
/// The API server's words.
pub async fn marked(client: &Client, namespace: Option<&str>) -> kube::Result<Vec<Subject>> {
    let api: Api<crate::cluster::DestinationRule> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let rules = limited(api.list(&kube::api::ListParams::default())).await?;
    let marked = rules.items.into_iter().filter(|rule| {
        rule.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(RESTORE))
    });
    let named = marked.map(|rule| {
        let (namespace, name) = (rule.metadata.namespace, rule.metadata.name);
        Subject::destination_rule(&namespace.unwrap_or_default(), &name.unwrap_or_default())
    });
    Ok(named.collect())
}

/// Takes one shed back on a person's word: no agent, no journal and so no permit takes part. The object's
/// version keeps it from racing with an agent that does the same.
pub async fn by_hand(client: &Client, subject: &Subject, how: Try) -> Restored {
    let wire = Wire { client: client.clone() };
    let mut restored =
        Restored { subject: subject.clone(), mark: None, outcome: Outcome::AlreadyDone, diff: String::new() };
    let found = match wire.get(subject).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            restored.outcome = Outcome::Failed { why: format!("{subject} does not exist") };
            return restored;
        }
        Err(trouble) => {
            restored.outcome = failed(trouble.right, &trouble.error);
            return restored;
        }
    };
    restored.mark = mark_of(&found).and_then(|text| Mark::read(text).ok());
    let write = match undoing(subject, &found, Whose::Person) {
        Prepared::Send(write) => write,
        Prepared::AlreadyDone => return restored,
        Prepared::Stale(why) | Prepared::Moot(why) | Prepared::NotYet(why) => {
            restored.outcome = Outcome::Stale { why };
            return restored;
        }
        Prepared::Impossible(why) => {
            restored.outcome = Outcome::Failed { why };
            return restored;
        }
    };
    restored.diff.clone_from(&write.diff);
    restored.outcome = sent(&wire, &write, how).await;
    restored
}

async fn sent(wire: &Wire, write: &Write, how: Try) -> Outcome {
    match wire.send(write, Run::Dry).await {
        Ok(answer) => {
            if let Some(why) = write.expect.unmet(&answer) {
                return Outcome::Failed { why };
            }
        }
        Err(error) => return failed(write.right, &error),
    }
    if how == Try::Dry {
        return Outcome::Done { detail: "it would be restored".to_owned() };
    }
    match wire.send(write, Run::Real).await {
        Ok(answer) => match write.expect.unmet(&answer) {
            None => Outcome::Done { detail: write.done.clone() },
            Some(why) => Outcome::Unknown { why },
        },
        Err(error) => failed(write.right, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(spec: &Value, mark: Option<&Mark>) -> Value {
        let mut rule =
            json!({ "metadata": { "name": "cart", "uid": "u", "resourceVersion": "7" }, "spec": spec });
        if let Some(mark) = mark {
            rule["metadata"]["annotations"] = json!({ RESTORE: mark.written() });
        }
        rule
    }

    fn words(prepared: Prepared) -> String {
        match prepared {
            Prepared::Send(write) => format!("{} {}", write.method, write.body),
            Prepared::Stale(why) => format!("stale: {why}"),
            Prepared::Moot(why) => format!("moot: {why}"),
            Prepared::AlreadyDone | Prepared::NotYet(_) | Prepared::Impossible(_) => "other".to_owned(),
        }
    }

    // Mutations: leaving the hash out (a person's change is overwritten); no version in the patch; deleting
    // what was not created; no precondition on a deletion.
    #[test]
    fn only_what_is_still_as_we_left_it_is_taken_back() {
        let (before, after) = (json!({ "host": "cart" }), json!({ "host": "cart", "trafficPolicy": {} }));
        let mark = Mark {
            incident: "k-1".to_owned(),
            expires: "2026-01-01T00:10:00Z".parse().unwrap(),
            spec: Digest::of_json(&after),
            was: Some(Digest::of_json(&before)),
            undo: Some(json!({ "trafficPolicy": null })),
            created: false,
        };
        let target = Subject::destination_rule("shop", "cart");
        let of = |spec: &Value, mark: Option<&Mark>, created| {
            let mut found = rule(spec, mark);
            found["metadata"]["managedFields"] =
                json!([{ "manager": "meshmend", "fieldsV1": { "f:spec": { "f:host": {} } } }]);
            words(undoing(&target, &found, Whose::Incident { incident: "k-1", created }))
        };
        assert_eq!(
            of(&after, Some(&mark), false),
            r#"PATCH {"metadata":{"annotations":{"meshmend.dev/restore":null},"resourceVersion":"7"},"spec":{"trafficPolicy":null}}"#
        );
        assert!(of(&before, Some(&mark), false).contains("somebody changed the object"));
        assert!(of(&after, None, false).contains("bears no mark"));
        assert!(of(&after, Some(&mark), true).contains("not that of this step"));
        let created = Mark { created: true, was: None, undo: None, ..mark };
        let deleted = of(&after, Some(&created), true);
        assert!(
            deleted.starts_with("DELETE") && deleted.contains(r#""resourceVersion":"7","uid":"u""#),
            "{deleted}"
        );
        assert!(of(&before, Some(&created), true).contains("somebody changed the object"));
        // Mutations: an orphan's incident not asked for; a deletion on the word of the mark alone.
        let orphan =
            |incident| words(undoing(&target, &rule(&after, Some(&created)), Whose::Orphan { incident }));
        assert!(orphan("k-2").starts_with("moot: "), "{}", orphan("k-2"));
        assert!(orphan("k-1").starts_with("stale: ") && orphan("k-1").contains("did not create it"));
        assert!(
            words(undoing(&target, &rule(&after, Some(&created)), Whose::Person))
                .contains("did not create it")
        );
        let mut odd = rule(&after, None);
        odd["metadata"]["annotations"] = json!({ RESTORE: "what?" });
        assert!(words(undoing(&target, &odd, Whose::Person)).contains("cannot be read"));
    }
}
