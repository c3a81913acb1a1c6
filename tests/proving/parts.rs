//! The programs that the proving ground runs, named by the environment.

use std::path::PathBuf;

/// Names the folder that `tests/control_plane/build.sh` prints.
const CONTROL_PLANE: &str = "MESHMEND_TEST_CONTROL_PLANE";
/// Names the folder that `tests/proving/fetch.sh` prints.
const PARTS: &str = "MESHMEND_TEST_PARTS";

/// Where they are.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// Folder of the control plane.
    pub(crate) control_plane: PathBuf,
    /// Envoy itself.
    pub(crate) envoy: PathBuf,
    /// Prometheus.
    pub(crate) prometheus: PathBuf,
    /// Alertmanager.
    pub(crate) alertmanager: PathBuf,
    /// What Alertmanager wants to find at /usr/share.
    pub(crate) share: PathBuf,
}

impl Parts {
    /// Looks whether all of them are there.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn find() -> Result<Self, String> {
        let named = |variable: &str| {
            let value = std::env::var_os(variable).filter(|value| !value.is_empty());
            value
                .map(PathBuf::from)
                .ok_or_else(|| format!("{variable} is not set; run tests/run.sh --proofs"))
        };
        let (control_plane, parts) = (named(CONTROL_PLANE)?, named(PARTS)?);
        let found = Self {
            envoy: named("MESHMEND_TEST_ENVOY").unwrap_or_else(|_| parts.join("envoy")),
            prometheus: parts.join("prometheus"),
            alertmanager: parts.join("alertmanager"),
            share: parts.join("share"),
            control_plane,
        };
        let files = [&found.envoy, &found.prometheus, &found.alertmanager];
        if let Some(file) = files.into_iter().find(|file| !file.is_file()) {
            return Err(format!("{} is not there; run tests/run.sh --proofs", file.display()));
        }
        Ok(found)
    }
}
