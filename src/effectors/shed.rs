//! Shed: the limits of the DestinationRule in force are lowered for a while, with the way back on the object.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::Effectors;
use super::act::Prepared;
use super::wire::{Expect, JSON, Kind, Right, Trouble, Write};
use crate::cluster::{
    DestinationRule, Found, Route, Shed, fqdn, limited, managed_by, rollback_patch, rule_for_all, spec_diff,
    tighten,
};
use crate::model::action::{Action, Limits};
use crate::model::digest::Digest;
use crate::model::duration;
use crate::model::facts::ManagedBy;
use crate::model::mark::{Mark, RESTORE};
use crate::model::subject::Subject;

/// What a step wants, in one place.
struct Wish<'a> {
    target: &'a Subject,
    uid: &'a str,
    from: Option<Digest>,
    host: &'a str,
    limits: &'a Limits,
    incident: &'a str,
    expires: Timestamp,
    /// How long it lasts, for people.
    span: String,
}

impl Effectors {
    pub(super) async fn prepare_shed(&self, action: &Action, incident: &str) -> Result<Prepared, Trouble> {
        let Action::ShedLoad { target, uid, from, host, limits, expires_s } = action else {
            return Ok(Prepared::impossible("this action sheds nothing"));
        };
        let span = SignedDuration::from_secs(i64::try_from(*expires_s).unwrap_or(i64::MAX));
        let wish = Wish {
            target,
            uid,
            from: *from,
            host,
            limits,
            incident,
            expires: self.clock.elsewhere().saturating_add(span).unwrap_or(Timestamp::MAX),
            span: duration::format(Duration::from_secs(*expires_s)),
        };
        let Some(kind) = Kind::of(target).filter(|_| target.kind == "DestinationRule") else {
            return Ok(Prepared::Impossible(format!("{target} has no limits to lower")));
        };
        let right = Right { verb: "get", resource: kind.resource };
        let api: Api<DestinationRule> = Api::namespaced(self.wire.client.clone(), &target.namespace);
        let found = limited(api.get_opt(&target.name)).await;
        let found = found.map_err(|error| Trouble { right, error: Box::new(error) })?;
        match found {
            Some(rule) => Ok(lowered(&wish, kind, &rule)),
            None if uid.is_empty() => self.created(&wish, kind).await,
            None => Ok(Prepared::stale("the rule does not exist any more")),
        }
    }

    /// A rule of our own, where none matches the host; a second one would be ignored, or take the place of
    /// the first with all its subsets.
    async fn created(&self, wish: &Wish<'_>, kind: Kind) -> Result<Prepared, Trouble> {
        let api: Api<DestinationRule> = Api::all(self.wire.client.clone());
        let right = Right { verb: "list", resource: kind.resource };
        let rules = limited(api.list(&ListParams::default())).await;
        let rules = rules.map_err(|error| Trouble { right, error: Box::new(error) })?;
        let rules: Vec<_> = rules.items.into_iter().map(|rule| Arc::new(Route::of_rule(rule))).collect();
        if let Some(why) = matched(&rules, wish.host) {
            return Ok(Prepared::Stale(why));
        }
        let Shed { spec, blocks, .. } = match tighten(&json!({ "host": wish.host }), wish.limits) {
            Ok(shed) => shed,
            Err(why) => return Ok(Prepared::Impossible(why)),
        };
        let hash = Digest::of_json(&spec);
        let mark = mark(wish, hash, None);
        let target = wish.target;
        let body = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {
                "namespace": target.namespace, "name": target.name,
                "annotations": { RESTORE: mark.written() },
            },
            "spec": spec,
        });
        Ok(Prepared::send(Write {
            right: Right { verb: "create", resource: kind.resource },
            method: Method::POST,
            path: kind.list(&target.namespace),
            media: JSON,
            expect: Expect::Spec(hash),
            diff: format!("{}{}", words(wish, &mark, &blocks), spec_diff(&Value::Null, &body["spec"])),
            done: format!("{target} created with {}", wish.limits),
            ..Write::merge(kind, target, body)
        }))
    }
}

/// The rule in force, with lower limits in every block that has a say.
fn lowered(wish: &Wish<'_>, kind: Kind, rule: &DestinationRule) -> Prepared {
    let meta = &rule.metadata;
    let now = Digest::of_json(&rule.spec);
    if let Some(mark) = meta.annotations.as_ref().and_then(|annotations| annotations.get(RESTORE)) {
        return marked(wish, mark, now);
    }
    let Some(from) = wish.from.filter(|_| !wish.uid.is_empty()) else {
        return Prepared::stale("a rule of this name exists by now");
    };
    if meta.uid.as_deref() != Some(wish.uid) {
        return Prepared::stale("it is another object of the same name");
    }
    if now != from {
        return Prepared::Stale(format!("expected revision {}, found {}", from.short(), now.short()));
    }
    let tool = managed_by(meta);
    if tool != ManagedBy::None {
        return Prepared::Stale(format!("{} manages the object by now", tool.as_str()));
    }
    let of = host_of(rule);
    if of != wish.host {
        return Prepared::Impossible(format!(
            "{} is for {of} and not for {} alone: its limits would shed others too",
            wish.target, wish.host
        ));
    }
    let Shed { spec, blocks, undo } = match tighten(&rule.spec, wish.limits) {
        Ok(shed) => shed,
        Err(why) => return Prepared::Impossible(format!("{}: {why}", wish.target)),
    };
    let patch = match rollback_patch(&rule.spec, &spec) {
        Ok(patch) => patch,
        Err(why) => return Prepared::Impossible(why),
    };
    let hash = Digest::of_json(&spec);
    let mark = mark(wish, hash, Some((from, undo)));
    let body = json!({
        "metadata": {
            "annotations": { RESTORE: mark.written() },
            "resourceVersion": meta.resource_version.as_deref().unwrap_or_default(),
        },
        "spec": patch,
    });
    Prepared::send(Write {
        expect: Expect::Spec(hash),
        diff: format!("{}{}", words(wish, &mark, &blocks), spec_diff(&rule.spec, &spec)),
        done: format!("limits lowered in {}", blocks.join(", ")),
        ..Write::merge(kind, wish.target, body)
    })
}

/// A shed is on it already: ours, then the write arrived before; another one, then hands off.
fn marked(wish: &Wish<'_>, text: &str, now: Digest) -> Prepared {
    match Mark::read(text) {
        Ok(mark) if mark.incident == wish.incident && mark.spec == now => Prepared::AlreadyDone,
        Ok(mark) => Prepared::Impossible(format!(
            "incident {} sheds load of {} until {}; a second shed on top could not be taken back exactly",
            mark.incident, wish.target, mark.expires
        )),
        Err(why) => Prepared::Impossible(why),
    }
}

fn mark(wish: &Wish<'_>, spec: Digest, before: Option<(Digest, Value)>) -> Mark {
    let created = before.is_none();
    let (was, undo) = before.unzip();
    Mark { incident: wish.incident.to_owned(), expires: wish.expires, spec, was, undo, created }
}

/// Which rule, which blocks, and the way back, before the diff itself.
fn words(wish: &Wish<'_>, mark: &Mark, blocks: &[String]) -> String {
    let verb = if mark.created { "creates" } else { "patches" };
    let target = wish.target;
    format!(
        "{verb} {target} for {}: {}\ntaken back after {}; without the agent: meshmend restore --all, or\n  {}\n",
        wish.host,
        blocks.join(", "),
        wish.span,
        mark.by_hand(&target.namespace, &target.name)
    )
}

/// The host of a rule, fully qualified.
fn host_of(rule: &DestinationRule) -> String {
    let namespace = rule.metadata.namespace.as_deref().unwrap_or_default();
    fqdn(rule.spec.get("host").and_then(Value::as_str).unwrap_or_default(), namespace)
}

/// Why a rule of our own would break one that some client obeys already.
fn matched(rules: &[Arc<Route>], host: &str) -> Option<String> {
    let broken = "by now, and a second rule would break one of the two";
    match rule_for_all(rules, host) {
        Found::Nothing => None,
        Found::One(rule) => {
            let known = rule.merged.first().map(|rule| &rule.subject);
            let known = known.map_or_else(String::new, |known| format!("{}/{}", known.namespace, known.name));
            Some(format!("{known} matches {host} {broken}"))
        }
        Found::Unclear(why) => Some(format!("other rules match {host} {broken} ({why})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(spec: &Value, annotations: &Value) -> DestinationRule {
        let meta = json!({
            "namespace": "shop", "name": "cart", "uid": "u", "resourceVersion": "7",
            "annotations": annotations,
        });
        serde_json::from_value(json!({ "metadata": meta, "spec": spec })).unwrap()
    }

    fn with_wish<T>(from: Option<Digest>, uid: &str, look: impl Fn(&Wish<'_>) -> T) -> T {
        let target = Subject::destination_rule("shop", "cart");
        let limits = Limits { max_requests: Some(4), ..Limits::default() };
        look(&Wish {
            target: &target,
            uid,
            from,
            host: "cart.shop.svc.cluster.local",
            limits: &limits,
            incident: "k-1",
            expires: "2026-01-01T00:10:00Z".parse().unwrap(),
            span: "10m".to_owned(),
        })
    }

    fn kind() -> Kind {
        Kind::of(&Subject::destination_rule("shop", "cart")).unwrap()
    }

    fn words_of(prepared: Prepared) -> String {
        match prepared {
            Prepared::Send(write) => write.body.to_string(),
            Prepared::AlreadyDone => "done".to_owned(),
            Prepared::Stale(why)
            | Prepared::Moot(why)
            | Prepared::NotYet(why)
            | Prepared::Impossible(why) => why,
        }
    }

    // Mutations: an undo that leaves an empty block behind; a mark whose hashes are exchanged.
    #[test]
    fn what_it_leaves_on_the_object_leads_back_exactly() {
        let spec = json!({ "host": "cart", "subsets": [{ "name": "v1" }] });
        let from = Digest::of_json(&spec);
        with_wish(Some(from), "u", |wish| {
            let Prepared::Send(write) = lowered(wish, kind(), &rule(&spec, &json!({}))) else {
                panic!("it can be shed")
            };
            let after = crate::model::merge::merged(&spec, &write.body["spec"]);
            let text = write.body["metadata"]["annotations"][RESTORE].as_str().unwrap().to_owned();
            let mark = Mark::read(&text).unwrap();
            assert_eq!((mark.was, mark.spec), (Some(from), Digest::of_json(&after)));
            assert_eq!(crate::model::merge::merged(&after, mark.undo.as_ref().unwrap()), spec);
            assert_eq!(write.body["metadata"]["resourceVersion"], "7");
            assert!(write.diff.contains("kubectl -n shop patch destinationrule cart --type merge -p '{"));
            assert!(
                write.diff.contains("patches DestinationRule shop/cart") && write.diff.contains("after 10m")
            );
            // Found again by the same step, and by another one.
            assert_eq!(words_of(lowered(wish, kind(), &rule(&after, &json!({ RESTORE: text })))), "done");
            let other = Mark { incident: "k-2".to_owned(), ..mark }.written();
            let refused = words_of(lowered(wish, kind(), &rule(&after, &json!({ RESTORE: other }))));
            assert!(refused.contains("incident k-2 sheds load"), "{refused}");
        });
    }

    // Mutations: leaving out any of the preconditions.
    #[test]
    fn every_precondition_is_asked_again() {
        let spec = json!({ "host": "cart" });
        let from = Digest::of_json(&spec);
        let found = |annotations: Value| rule(&spec, &annotations);
        let tool = json!({ "argocd.argoproj.io/tracking-id": "x" });
        with_wish(Some(from), "u", |wish| {
            assert!(words_of(lowered(wish, kind(), &found(tool.clone()))).contains("argocd manages"));
        });
        with_wish(Some(Digest::ZERO), "u", |wish| {
            assert!(words_of(lowered(wish, kind(), &found(json!({})))).contains("expected revision"));
        });
        with_wish(Some(from), "v", |wish| {
            assert!(words_of(lowered(wish, kind(), &found(json!({})))).contains("another object"));
        });
        with_wish(None, "", |wish| {
            assert!(words_of(lowered(wish, kind(), &found(json!({})))).contains("exists by now"));
        });
        let wide = json!({ "host": "*.shop.svc.cluster.local" });
        with_wish(Some(Digest::of_json(&wide)), "u", |wish| {
            assert!(words_of(lowered(wish, kind(), &rule(&wide, &json!({})))).contains("shed others too"));
        });
        let tight = json!({ "host": "cart", "trafficPolicy": { "connectionPool": { "http": { "http2MaxRequests": 1 } } } });
        with_wish(Some(Digest::of_json(&tight)), "u", |wish| {
            assert!(words_of(lowered(wish, kind(), &rule(&tight, &json!({})))).contains("as tight already"));
        });
    }

    #[test]
    fn a_rule_of_any_form_that_matches_stands_in_the_way() {
        let of = |namespace: &str, host: &str| {
            let mut rule = rule(&json!({ "host": host }), &json!({}));
            rule.metadata.namespace = Some(namespace.to_owned());
            matched(&[Arc::new(Route::of_rule(rule))], "cart.shop.svc.cluster.local")
        };
        // Mutations: looking for the exact host only; asking for clients of the service's namespace only.
        for host in ["cart", "cart.shop.svc.cluster.local", "*.shop.svc.cluster.local", "*"] {
            assert!(of("shop", host).is_some_and(|why| why.contains("shop/cart matches")), "{host}");
        }
        assert!(of("web", "cart.shop.svc.cluster.local").is_some_and(|why| why.contains("web")));
        assert!(of("istio-system", "*.local").is_some_and(|why| why.contains("istio-system/cart matches")));
        assert_eq!(
            [of("shop", "web"), of("shop", "*.web.svc.cluster.local"), of("web", "cart")],
            [None, None, None]
        );
    }
}
