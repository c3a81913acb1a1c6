//! The cluster: the client, slim views of routing objects, and the watched stores that sources and
//! effectors share.

mod client;
mod diff;
mod host;
mod limits;
mod look;
mod object;
mod owner;
mod patch;
mod precedence;
mod route;
mod rule;
mod shed;
mod store;
mod watch;

pub use client::{Access, NoCluster, connect, limited, told};
pub use diff::spec_diff;
pub use host::fqdn;
pub use limits::{outlier, tightest};
pub use look::resource;
pub use object::{DestinationRule, HttpRoute, VirtualService};
pub use patch::rollback_patch;
pub use precedence::{Client, Found, RouteInForce, route_for};
pub use route::{Leads, RESTORE, Route, leads};
pub use rule::{RuleInForce, Subset, rule_for, rule_for_all};
pub use shed::{Shed, fresh_rule, per_client, shed, tighten};
pub use store::{Cluster, Resolved};
pub use watch::Seen;
