//! The cluster: the client, slim views of routing objects, and the watched stores that sources and
//! effectors share.

mod client;
mod diff;
mod host;
mod look;
mod object;
mod owner;
mod patch;
mod reach;
mod route;
mod rule;
mod store;
mod watch;

pub use client::{Access, NoCluster, connect, limited, told};
pub use diff::spec_diff;
pub use host::fqdn;
pub use object::{DestinationRule, VirtualService};
pub use owner::managed_by;
pub use patch::{merged, rollback_patch};
pub use reach::{Answer, ByPodIp, ByPortForward, Call, PodPort, ProxyTransport, Unanswered};
pub use route::{Leads, Route, leads};
pub use store::{Cluster, Resolved};
pub use watch::Seen;
