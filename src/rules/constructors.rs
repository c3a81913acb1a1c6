//! The functions that playbooks build their answers with. They return closed Rust values: a script can
//! not name an action that does not exist.

use std::collections::BTreeMap;

use rhai::{Dynamic, Engine, EvalAltResult, Map};

use super::playbook::Next;
use crate::model::action::Action;
use crate::model::digest::Digest;
use crate::model::signal::Symptom;
use crate::model::subject::Subject;

/// What a playbook listens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum On {
    Symptom(Symptom),
    Alert { name: String, labels: BTreeMap<String, String> },
}

/// A step of a plan.
#[derive(Clone, Debug)]
pub(super) struct Step(pub(super) Action);

/// A refusal.
#[derive(Clone, Debug)]
pub(super) struct Refusal(pub(super) String);

/// An answer of `next`.
#[derive(Clone, Debug)]
pub(super) struct Rung(pub(super) Next);

type Built<T> = Result<T, Box<EvalAltResult>>;

pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<On>("Match");
    engine.register_type_with_name::<Step>("Step");
    engine.register_type_with_name::<Refusal>("Refusal");
    engine.register_type_with_name::<Rung>("Rung");
    engine.register_fn("symptom", |text: &str| -> Built<On> {
        text.parse().map(On::Symptom).map_err(|why: String| why.into())
    });
    engine.register_fn("alert", |name: &str| On::Alert { name: name.to_owned(), labels: BTreeMap::new() });
    engine.register_fn("alert", |name: &str, labels: Map| -> Built<On> {
        let labels = labels.into_iter().map(|(key, value)| {
            let value =
                value.into_string().map_err(|kind| format!("label {key} must be a text, not {kind}"))?;
            Ok((key.to_string(), value))
        });
        let labels = labels.collect::<Result<_, String>>()?;
        Ok(On::Alert { name: name.to_owned(), labels })
    });
    engine.register_fn("refuse", |text: &str| Refusal(text.to_owned()));
    engine.register_fn("retry", || Rung(Next::Retry));
    engine.register_fn("escalate", |text: &str| Rung(Next::Escalate(text.to_owned())));
    engine.register_fn("notify", |text: &str| Step(Action::Notify { text: text.to_owned() }));
    engine.register_fn("rollback_route", rollback_route);
}

/// `rollback_route(facts.route)`: back to the last good revision that the facts name.
fn rollback_route(mut route: Map) -> Built<Step> {
    let good = route.remove("last_good").and_then(Dynamic::try_cast::<Map>);
    let Some(mut good) = good else {
        return Err("rollback_route: this route has no last_good; refuse where it is absent".into());
    };
    let (group, kind) = (text(&mut route, "group")?, text(&mut route, "kind")?);
    let (namespace, name) = (text(&mut route, "namespace")?, text(&mut route, "name")?);
    Ok(Step(Action::RollbackRoute {
        target: Subject::new(&group, &kind, &namespace, &name),
        uid: text(&mut route, "uid")?,
        from: digest(&mut route)?,
        to: digest(&mut good)?,
    }))
}

fn text(map: &mut Map, key: &str) -> Built<String> {
    let value = map.remove(key).unwrap_or(Dynamic::UNIT);
    value.into_string().map_err(|kind| format!("rollback_route: {key} must be a text, not {kind}").into())
}

fn digest(map: &mut Map) -> Built<Digest> {
    text(map, "spec_hash")?.parse().map_err(|why: String| format!("rollback_route: {why}").into())
}
