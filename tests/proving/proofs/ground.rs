//! The ground itself holds: everything that the other proofs stand on is seen to work, and to fail where it
//! should.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use tokio::time::Instant;

use crate::ground::{Ground, SOON, Workload};
use crate::traffic::Ledger;
use crate::wait::{same, until};

const SHOP: &str = "shop";

/// Real controllers and the scheduler make pods, their proxies carry 50 requests a second without a bad
/// answer, a frozen Envoy takes connections and does not answer, and a container whose main process is gone
/// is started again in the same pod.
///
/// Mutations that break it: probing a port that nobody listens on; leaving the processes of a group alive;
/// a new pod instead of a new container.
pub(crate) async fn carries(ground: &Ground) -> anyhow::Result<()> {
    let begun = Instant::now();
    ground.istiod().await?;
    ground.prometheus(&serde_json::json!([])).await?;
    let server = Workload::new(SHOP, "server", "v1", 2);
    let client = Workload::new(SHOP, "client", "v1", 1);
    for workload in [&server, &client] {
        ground.deploy(workload).await?;
    }
    for workload in [&server, &client] {
        ground.ready(SHOP, &workload.name()).await?;
    }
    ground.report("istiod and three meshed pods ready", begun.elapsed())?;
    let load = ground.load((SHOP, "app=client"), "server.shop.svc.cluster.local", 50).await?;
    until("200 requests", SOON, async || Ok((load.ledger().count() >= 200).then_some(()))).await?;
    let ledger = load.stop().await?;
    same("answered 200", &ledger.answered(200), &ledger.count())?;
    counted(ground, &ledger).await?;
    ground.note(&format!(
        "{} requests, all 200, p50 {:?}, p99 {:?}",
        ledger.count(),
        ledger.latency(50).unwrap_or_default(),
        ledger.latency(99).unwrap_or_default()
    ))?;
    frozen(ground).await?;
    restarted(ground).await
}

/// Prometheus knows of exactly the requests that the ledger has, from both sides.
async fn counted(ground: &Ground, ledger: &Ledger) -> anyhow::Result<()> {
    let host = "server.shop.svc.cluster.local";
    for reporter in ["source", "destination"] {
        let labels = format!("reporter=\"{reporter}\",destination_service=\"{host}\",response_code=\"200\"");
        let query = format!("sum(istio_requests_total{{{labels}}})");
        let all = serde_json::json!(ledger.count().to_string());
        until(&format!("{query} is {all}"), SOON, async || {
            Ok((ground.query(&query).await?[0]["value"][1] == all).then_some(()))
        })
        .await?;
    }
    Ok(())
}

async fn first(ground: &Ground) -> anyhow::Result<(String, Pod)> {
    let pods = ground.pods(SHOP, "app=server").await?;
    let pod = pods.into_iter().next().context("there are pods of the server")?;
    Ok((pod.metadata.name.clone().unwrap_or_default(), pod))
}

/// Frozen, it is still connected to, and nobody answers; thawed, it answers at once.
async fn frozen(ground: &Ground) -> anyhow::Result<()> {
    let (name, _) = first(ground).await?;
    let envoy = ground.kubelet.envoy(SHOP, &name)?;
    let url = format!("http://{}:15021/healthz/ready", ground.kubelet.address(SHOP, &name)?);
    let limit = Duration::from_secs(2);
    let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(limit).build()?;
    same("before", &http.get(&url).send().await?.status().as_u16(), &200)?;
    envoy.freeze()?;
    let error = http.get(&url).send().await.err().context("a frozen Envoy answers")?;
    ensure!(error.is_timeout(), "it hangs, and nothing else: {error}");
    let frozen = ground.kubelet.envoy(SHOP, &name)?;
    same("its state", &frozen.state, &'T')?;
    envoy.thaw()?;
    same("after", &http.get(&url).send().await?.status().as_u16(), &200)
}

/// The proxy agent is killed; its Envoy, frozen, goes with it, and both are there again in the same pod.
async fn restarted(ground: &Ground) -> anyhow::Result<()> {
    let (name, before) = first(ground).await?;
    let processes = ground.kubelet.container(SHOP, &name, "istio-proxy")?;
    let main = processes.first().context("the container has a main process")?;
    let old = ground.kubelet.envoy(SHOP, &name)?;
    old.freeze()?;
    let killed = Instant::now();
    main.kill()?;
    let after = until("the container was restarted", SOON, async || {
        let (_, pod) = first(ground).await?;
        let proxy = status(&pod);
        Ok(proxy.is_some_and(|proxy| proxy.restart_count == 1 && proxy.ready).then_some(pod))
    })
    .await?;
    ground.report("a killed proxy ready again", killed.elapsed())?;
    same("the uid", &after.metadata.uid, &before.metadata.uid)?;
    let (was, is) = (status(&before).context("a status")?, status(&after).context("a status")?);
    ensure!(was.container_id != is.container_id, "it is another container");
    let last = is.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    same("how it ended", &last.map(|last| last.exit_code), &Some(137))?;
    let now = ground.kubelet.processes(SHOP, &name)?;
    ensure!(now.iter().all(|process| process.pid != old.pid), "the frozen Envoy is gone: {now:?}");
    ensure!(now.iter().any(|process| process.name == "envoy"), "a new one runs: {now:?}");
    Ok(())
}

fn status(pod: &Pod) -> Option<ContainerStatus> {
    let all = pod.status.as_ref()?.container_statuses.clone()?;
    all.into_iter().find(|status| status.name == "istio-proxy")
}
