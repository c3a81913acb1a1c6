//! A view of the configured cluster for a command that only looks: the watches, without an agent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::feed;
use crate::cluster::{Access, Cluster, connect, limited, told};
use crate::config::Config;

/// A first list of a large cluster takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The cluster, once every watch has delivered its first list.
///
/// # Errors
/// The cluster cannot be asked, or a watch delivered nothing.
pub(super) async fn open(config: &Config, access: &Access) -> anyhow::Result<Arc<Cluster>> {
    let client = connect(access).await?;
    let answers = limited(client.apiserver_version()).await;
    answers.map_err(|error| anyhow::anyhow!("the API server cannot be asked: {}", told(&error)))?;
    let cluster = Arc::new(Cluster::new(client, config.namespaces.clone()));
    let (sources, mut unused) = mpsc::channel(16);
    tokio::spawn(async move { while unused.recv().await.is_some() {} });
    feed::watch(&cluster, &sources);
    let synced = tokio::time::timeout(PATIENCE, cluster.wait_synced()).await;
    synced
        .map_err(|_| anyhow::anyhow!("the cluster could not be read: {}", cluster.troubles().join("; ")))?;
    Ok(cluster)
}
