//! A service that can be overrun: two pods that serve four requests at once in 200 ms serve 40 a second.

use serde_json::json;

use super::routing::{ROUTE, SHOP, object};
use crate::ground::{Ground, Workload};

/// What makes an app slow.
pub(super) const SLOW: &[(&str, &str)] = &[("APP_AT_ONCE", "4"), ("APP_DELAY_MS", "200")];
/// Requests a second that are few.
pub(super) const EASY: u32 = 15;
/// With the easy ones these are 70: 1.75 times what can be served.
pub(super) const MORE: u32 = 55;
/// The host of the service.
pub(super) const BUSY: &str = "busy.shop.svc.cluster.local";

/// Deploys it, with a route that gives up after so long; waits for nothing.
pub(super) async fn deploy(ground: &Ground, timeout: &str) -> anyhow::Result<Workload<'static>> {
    let mut busy = Workload::new(SHOP, "busy", "v1", 2);
    busy.env = SLOW;
    ground.deploy(&busy).await?;
    let route = json!({ "hosts": ["busy"], "http": [{
        "route": [{ "destination": { "host": "busy" } }], "timeout": timeout,
    }] });
    ground.apply_object(object((ROUTE.0, ROUTE.1, ROUTE.2, "busy"), &route)).await?;
    Ok(busy)
}
