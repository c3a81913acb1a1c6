//! The mesh of the proving ground: a stand-in for istiod that drives real Envoys.
//!
//! This is test code and no part of the product. It exists because istiod is not to be had as a module. What
//! it makes of VirtualServices and DestinationRules is held against what a real istiod made of the same
//! objects (`truth`), and it shares no code with the product's own reading of them, so that it shares no
//! misreading either.
//!
//! In reading order: `objects` (what is translated), `translate` and below it (objects to Envoy's words),
//! `truth` (the check); `proxy` (how a proxy makes itself known), `bootstrap` (how its Envoy is started),
//! `istiod` (the process that drives it), `metrics` (what Istio's filters would count), `live` (all of it
//! with a real Envoy).
//!
//! A proxy agent uses it so: `ProxyFile::announce` before each start of Envoy (with another `start`), wait for
//! `ProxyFile::configured`, write `bootstrap::bootstrap` to a file outside the proxy's folder, start Envoy
//! with `bootstrap::arguments`, serve `metrics::merged` on port 15020; and `ProxyFile::withdraw` when the pod
//! is gone. Envoy's admin interface is to listen on port 15000 of the pod's own address.
//!
//! `main` asks `istiod::role` first: the stand-in is a process of its own, started by `Options::command`.
//!
//! What comes from a pod's own loopback, such as the end of a port-forward, must come from an address of
//! 127.0.0.0/8: all pods share one network, so the kubelet binds its socket there before it connects.
//!
//! Not translated: TLS, TCP routes, gateways, ServiceEntries, Sidecar objects (every proxy imports all),
//! EnvoyFilters but for HTTP filters that are added.

pub(crate) mod bootstrap;
mod hosts;
pub(crate) mod istiod;
mod live;
pub(crate) mod metrics;
pub(crate) mod objects;
pub(crate) mod proxy;
mod translate;
mod truth;

use libtest_mimic::Trial;

/// All trials of this part.
pub(crate) fn trials() -> Vec<Trial> {
    [truth::trials(), istiod::trials(), metrics::trials(), live::trials()].into_iter().flatten().collect()
}
