//! `/server_info`: version, state and age of an Envoy. The rest of the page, a hundred kilobytes of the
//! extensions it was built with, is skipped while it is read.

use serde::Deserialize;

use super::json;

/// What an Envoy says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServerInfo {
    /// Build: hash, version, state of the tree, type, TLS library, parted by slashes.
    pub version: String,
    /// `LIVE`, `DRAINING`, `PRE_INITIALIZING` or `INITIALIZING`.
    pub state: String,
    /// Since it started: seconds with an `s`.
    uptime_current_epoch: String,
}

impl ServerInfo {
    /// Whether it takes traffic.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state == "LIVE"
    }

    /// Seconds since it started.
    #[must_use]
    pub fn uptime_s(&self) -> u64 {
        seconds(&self.uptime_current_epoch).unwrap_or_default()
    }
}

fn seconds(text: &str) -> Option<u64> {
    let whole = text.strip_suffix('s')?.split('.').next()?;
    whole.parse().ok()
}

pub(in super::super) fn read(body: &[u8]) -> Result<ServerInfo, String> {
    let info: ServerInfo = json(body)?;
    if seconds(&info.uptime_current_epoch).is_none() {
        return Err(format!("unexpected answer: it has been up for {:?}", info.uptime_current_epoch));
    }
    Ok(info)
}
