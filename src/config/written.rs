//! The configuration in force, back in the shape of its file.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Config, Intake, Token};
use crate::model::duration;

impl Config {
    /// The configuration in force as a file would say it, defaults included; secrets are only named by file.
    #[must_use]
    pub fn written(&self) -> Value {
        let seconds = |seconds: u64| duration::format(Duration::from_secs(seconds));
        let token = |token: &Token| {
            let roles: Vec<&str> = token.roles.iter().map(|role| role.as_str()).collect();
            json!({ "name": token.name, "roles": roles, "file": token.file })
        };
        let tokens: Vec<Value> = self.tokens.iter().map(token).collect();
        let prometheus = self.prometheus.as_ref().map(|source| {
            let every = seconds(source.interval_s);
            without_nulls(json!({ "url": source.url, "interval": every, "tokenFile": source.token_file, "caFile": source.ca_file }))
        });
        let proxies = self
            .proxies
            .as_ref()
            .map(|source| json!({ "interval": seconds(source.interval_s), "via": source.via.as_str() }));
        let istiod = self.istiod.as_ref().map(|source| json!({ "interval": seconds(source.interval_s) }));
        let open = |intake: Intake| self.intake.contains(&intake).then(|| json!({}));
        let sources = without_nulls(json!({
            "kubernetes": { "namespaces": self.namespaces }, "alertmanager": open(Intake::Alertmanager), "signals": open(Intake::Signals), "prometheus": prometheus,
            "proxies": proxies, "istiod": istiod,
        }));
        let journal = without_nulls(
            json!({ "sqlite": { "path": self.journal }, "signingKeyFile": self.signing_key_file }),
        );
        without_nulls(json!({
            "apiVersion": "meshmend.dev/v1alpha1", "kind": "Config",
            "cluster": self.cluster.as_ref().map(|name| json!({ "name": name })),
            "playbooks": self.playbooks, "policies": self.policies, "journal": journal,
            "listen": { "api": self.api.to_string(), "probes": self.probes.to_string() },
            "tokens": (!tokens.is_empty()).then_some(tokens), "sources": sources,
            "history": { "hold": seconds(self.history.hold_s), "minRequests": self.history.min_requests },
            "brake": { "writes": self.brake.writes.to_string(), "notifications": self.brake.notifications.to_string() },
            "notify": self.webhook_url_file.as_ref().map(|file| json!({ "webhook": { "urlFile": file } })),
        }))
    }
}

fn without_nulls(value: Value) -> Value {
    let Value::Object(map) = value else { return value };
    Value::Object(map.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
}
