//! The cluster: the client, slim views of routing objects, and the watched stores that sources and
//! effectors share.

mod budgets;
mod certificates;
mod client;
mod diff;
mod fresh;
mod host;
mod inventory;
mod kept;
mod look;
mod lookup;
mod names;
mod object;
mod owner;
mod patch;
mod pods;
mod population;
mod proxies;
mod reach;
mod route;
mod rule;
mod services;
mod shelf;
mod slim;
mod store;
mod tend;
mod watch;
mod workloads;

pub use budgets::{Budget, BudgetObject, Selector};
pub use certificates::{Certificate, CertificateObject, Issuer, IssuerRef};
pub use client::{Access, NoCluster, connect, limited, told};
pub use diff::spec_diff;
pub use fresh::FreshWorkload;
pub use host::fqdn;
pub use inventory::{Inventory, Watched};
pub use names::Labels;
pub use object::{DestinationRule, VirtualService};
pub use patch::rollback_patch;
pub use pods::{ContainerState, Controller, LastEnd, Mesh, Pod, PodObject, Proxy};
pub use proxies::{ControlPlane, DEFAULT_REVISION, ProxyEyes, Sync};
pub use reach::{Answer, ByPodIp, ByPortForward, Call, PodPort, ProxyTransport, Unanswered};
pub use route::{Leads, Route, leads};
pub use services::{Endpoint, Node, Service};
pub use store::{Cluster, Resolved};
pub use watch::Seen;
pub use workloads::Workload;
