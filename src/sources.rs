//! Sources: the world to readings and events, one file each. The watches live in `cluster`, because the
//! effectors share their stores; webhooks arrive through `api`.

pub mod agent;
pub mod api_server;
pub mod envoy;
pub mod exposition;
pub mod istiod;
mod pauses;
pub mod prometheus;
pub mod proxy_check;
pub mod usage;

#[cfg(test)]
mod harmed;
