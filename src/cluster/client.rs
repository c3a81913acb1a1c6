//! The kube client: no retries behind our back, and a time limit on every call but a watch.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Client, Config};

/// A healthy API server answers in milliseconds; one that needs longer than this is down for us.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Which cluster, as the command line says it.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// A kubeconfig file; otherwise `KUBECONFIG`, the home folder, or the pod's own account.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it; otherwise the current one.
    pub context: Option<String>,
}

/// No cluster can be reached with what was given: a mistake of usage, not of the cluster.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoCluster(String);

/// Connects. Nothing is sent yet.
///
/// # Errors
/// The kubeconfig is missing or wrong; the message names the file.
pub async fn connect(access: &Access) -> anyhow::Result<Client> {
    let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
    let named = match &access.kubeconfig {
        Some(path) => format!("the kubeconfig {} cannot be used", path.display()),
        None => "the kubeconfig cannot be used".to_owned(),
    };
    let none = "no cluster is configured: give --kubeconfig FILE, set KUBECONFIG, or run inside a pod";
    let mut config = match (&access.kubeconfig, &access.context) {
        (Some(path), _) => {
            let file = Kubeconfig::read_from(path).with_context(|| NoCluster(named.clone()))?;
            let config = Config::from_custom_kubeconfig(file, &options).await;
            config.with_context(|| NoCluster(named))?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.with_context(|| NoCluster(named))?,
        (None, None) => Config::infer().await.with_context(|| NoCluster(none.to_owned()))?,
    };
    // The default policy retries refusals for minutes (a 429 is an answer, not a hiccup).
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).context("the client could not be made")
}

/// A call with our time limit.
///
/// # Errors
/// The call's own error, or a service error that says it took too long.
pub async fn limited<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(TIME_LIMIT, call).await {
        Ok(answer) => answer,
        Err(_) => Err(kube::Error::Service(
            format!("the API server did not answer within {} s", TIME_LIMIT.as_secs()).into(),
        )),
    }
}

/// An error as people can use it: an answer of the API server in the server's own words, and any other with
/// the causes behind it, once each. kube's own words repeat a status as a dump of its fields, and end where
/// the cause begins ("client error (Connect)").
#[must_use]
pub fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = Some(error);
    while let Some(cause) = source {
        let boxed = cause.downcast_ref::<Box<Status>>().map(AsRef::as_ref);
        if let Some(status) = boxed.or_else(|| cause.downcast_ref::<Status>()) {
            return format!("{} ({} {})", status.message, status.code, status.reason);
        }
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(&format!(": {words}"));
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::told;
    use kube::core::Status;
    use kube::runtime::watcher;

    #[test]
    fn causes_are_told_once_down_to_the_last() {
        let refused = || kube::Error::Service(Box::new(std::io::Error::other("connection refused")));
        // Mutation: telling only the outermost error hides why nobody answered.
        assert_eq!(told(&refused()), "ServiceError: connection refused");
        let outer = watcher::Error::InitialListFailed(refused());
        assert_eq!(told(&outer).matches("connection refused").count(), 1);
    }

    #[test]
    fn the_servers_own_words_are_enough() {
        let status = Status::failure("cannot list resource", "Forbidden").with_code(403);
        let outer = watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
        // Mutation: kube's own text holds the status twice more, as a dump.
        assert_eq!(told(&outer), "cannot list resource (403 Forbidden)");
    }
}
