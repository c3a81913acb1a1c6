//! The stub of a kubelet holds: restart policies, native sidecars, deletion, back-off, and what a proxy agent
//! takes from its own pod only.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use meshmend::clock::Clock;
use meshmend::cluster::{ByPodIp, ByPortForward, Call, PodPort, ProxyTransport};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::ground::{Ground, SOON, Sidecar, Workload};
use crate::kubelet::NODES;
use crate::wait::{same, until};

const WORK: &str = "work";

/// Mutations that break it: starting again whatever ended; ending a pod whose native sidecar still runs; no
/// back-off; an agent that takes a quit from anywhere; a force delete that nobody sends.
pub(crate) async fn lives(ground: &Ground) -> anyhow::Result<()> {
    ground.istiod().await?;
    let mut server = Workload::new(WORK, "native", "v1", 1);
    server.sidecar = Sidecar::Native;
    ground.deploy(&server).await?;
    policies(ground).await?;
    ground.ready(WORK, &server.name()).await?;
    agent_of_a_proxy(ground).await?;
    deletion(ground).await?;
    components(ground).await?;
    silence(ground).await
}

fn pod(name: &str, policy: &str, code: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": WORK },
        "spec": { "restartPolicy": policy, "containers": [{
            "name": "app", "image": "example.com/app:1", "env": [{ "name": "APP_EXIT", "value": code }],
        }] },
    })
}

fn pods(ground: &Ground) -> Api<Pod> {
    Api::namespaced(ground.client(), WORK)
}

/// Phase, restarts of the first container and why it waits.
async fn state(ground: &Ground, name: &str) -> anyhow::Result<(String, i32, String)> {
    let status = pods(ground).get(name).await?.status.unwrap_or_default();
    let first = status.container_statuses.unwrap_or_default().into_iter().next();
    let waits = first.as_ref().and_then(|first| first.state.clone()).and_then(|state| state.waiting);
    let why = waits.and_then(|waits| waits.reason).unwrap_or_default();
    Ok((status.phase.unwrap_or_default(), first.map_or(0, |first| first.restart_count), why))
}

async fn policies(ground: &Ground) -> anyhow::Result<()> {
    // Its account is made a moment after the namespace.
    let accounts = ground.api(WORK, "v1", "ServiceAccount");
    until("the default account", SOON, async || Ok(accounts.get_opt("default").await?)).await?;
    let cases = [
        ("never", "Never", "3"),
        ("done", "OnFailure", "0"),
        ("again", "OnFailure", "3"),
        ("always", "Always", "0"),
    ];
    for (name, policy, code) in cases {
        ground.apply_object(pod(name, policy, code)).await?;
    }
    // With a native sidecar, the work's end is the pod's end.
    let mut job = pod("job", "Never", "0");
    job["spec"]["initContainers"] = json!([{ "name": "beside", "image": "example.com/app:1", "restartPolicy": "Always", "env": [{ "name": "APP_PORT", "value": "8081" }] }]);
    ground.apply_object(job).await?;
    for (name, phase) in [("never", "Failed"), ("done", "Succeeded"), ("job", "Succeeded")] {
        until(&format!("{name} is {phase}"), SOON, async || {
            let (now, restarts, _) = state(ground, name).await?;
            ensure!(restarts == 0, "{name} was started again");
            Ok((now == phase).then_some(()))
        })
        .await?;
    }
    for name in ["again", "always"] {
        until(&format!("{name} waits for its next start"), SOON, async || {
            let (phase, restarts, why) = state(ground, name).await?;
            Ok((phase == "Running" && restarts >= 1 && why == "CrashLoopBackOff").then_some(()))
        })
        .await?;
    }
    let sidecar = ground.kubelet.processes(WORK, "job")?;
    ensure!(sidecar.is_empty(), "the sidecar of a job that is done still runs: {sidecar:?}");
    // Between the starts lies nothing, one second, two, four.
    let pause = until("again runs for the fourth time or later", SOON, async || {
        let status = pods(ground).get("again").await?.status.unwrap_or_default();
        let first = status.container_statuses.unwrap_or_default().into_iter().next();
        let first = first.filter(|first| first.restart_count >= 3);
        let starts =
            first.as_ref().and_then(|first| first.state.as_ref()?.running.as_ref()?.started_at.as_ref());
        let ends = first
            .as_ref()
            .and_then(|first| first.last_state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
        Ok(starts.zip(ends).map(|(starts, ends)| starts.0.duration_since(ends.0)))
    })
    .await?;
    ensure!(pause >= SignedDuration::from_secs(2), "it was started again after {pause:?}");
    ground.note("restart policies and a native sidecar of a job hold")
}

/// What the agent on 15020 answers over a port-forward and from elsewhere; a quit ends its container with 0,
/// and the kubelet starts it again.
async fn agent_of_a_proxy(ground: &Ground) -> anyhow::Result<()> {
    let name = first(ground).await?;
    let ip = ground.kubelet.address(WORK, &name)?;
    let near = ByPortForward::new(ground.client());
    let at = PodPort { namespace: WORK.to_owned(), pod: name.clone(), ip: Some(ip.into()), port: 15_020 };
    let limit = Duration::from_secs(3);
    let ask = async |way: &dyn ProxyTransport, call: Call| -> anyhow::Result<u16> {
        let answer = way.ask(&at, &call).await.map_err(|error| anyhow::anyhow!("{}: {error}", call.path))?;
        Ok(answer.0)
    };
    let begun = Instant::now();
    same("GET over a port-forward", &ask(&near, Call::get("/quitquitquit", limit)).await?, &405)?;
    ground.note(&format!("one request over a port-forward: {:?}", begun.elapsed()))?;
    same("quit from elsewhere", &ask(&ByPodIp, Call::post("/quitquitquit", limit)).await?, &403)?;
    same("drain from elsewhere", &ask(&ByPodIp, Call::post("/drain", limit)).await?, &403)?;
    same("ready", &ask(&ByPodIp, Call::get("/healthz/ready", limit)).await?, &200)?;
    same("drain", &ask(&near, Call::post("/drain", limit)).await?, &200)?;
    let begun = Instant::now();
    same("quit", &ask(&near, Call::post("/quitquitquit", limit)).await?, &200)?;
    until("the native sidecar was started again", SOON, async || {
        let status = pods(ground).get(&name).await?.status.unwrap_or_default();
        let proxy = status.init_container_statuses.unwrap_or_default().into_iter().next();
        let proxy = proxy.context("the proxy has a status")?;
        let code = proxy.last_state.and_then(|last| last.terminated).map(|ended| ended.exit_code);
        Ok((proxy.restart_count == 1 && proxy.ready && code == Some(0)).then_some(()))
    })
    .await?;
    ground.report("a proxy that quit ready again", begun.elapsed())
}

/// A deleted pod goes, with all its processes, and another one comes.
async fn deletion(ground: &Ground) -> anyhow::Result<()> {
    let name = first(ground).await?;
    let before = ground.kubelet.processes(WORK, &name)?;
    ensure!(before.iter().any(|process| process.name == "envoy"), "it runs an Envoy: {before:?}");
    ground.kubelet.envoy(WORK, &name)?.freeze()?;
    let begun = Instant::now();
    pods(ground).delete(&name, &DeleteParams::default()).await?;
    until("the pod is gone", SOON, async || Ok(pods(ground).get_opt(&name).await?.is_none().then_some(())))
        .await?;
    ground.report("a deleted pod gone", begun.elapsed())?;
    for process in before {
        let left = std::fs::read_to_string(format!("/proc/{}/stat", process.pid));
        let left = left.is_ok_and(|text| !text.contains(") Z "));
        ensure!(!left, "{process:?} survived its pod");
    }
    ground.ready(WORK, "native-v1").await
}

async fn first(ground: &Ground) -> anyhow::Result<String> {
    let pods = ground.pods(WORK, "app=native").await?;
    pods.into_iter().next().and_then(|pod| pod.metadata.name).context("the workload has a pod")
}

/// The control plane's parts freeze, die and come back alone, on the same files and ports.
async fn components(ground: &Ground) -> anyhow::Result<()> {
    let asks = async || {
        tokio::time::timeout(Duration::from_secs(2), first(ground)).await.is_ok_and(|found| found.is_ok())
    };
    let server = ground.component("kube-apiserver")?;
    server.freeze()?;
    ensure!(!asks().await, "a frozen API server does not answer");
    server.thaw()?;
    until("the thawed API server answers", SOON, async || Ok(asks().await.then_some(()))).await?;
    server.kill();
    ensure!(!asks().await, "a killed API server does not answer");
    let begun = Instant::now();
    server.start()?;
    until("the new API server answers", SOON, async || Ok(asks().await.then_some(()))).await?;
    ground.report("a killed API server answers again", begun.elapsed())?;
    // Whoever watched goes on: the controllers make another pod, the scheduler binds it, the kubelet runs it.
    let name = first(ground).await?;
    pods(ground).delete(&name, &DeleteParams::default()).await?;
    let begun = Instant::now();
    until("another pod is ready", SOON, async || {
        let found = ground.pods(WORK, "app=native").await?;
        let conditions =
            |pod: &Pod| pod.status.clone().and_then(|status| status.conditions).unwrap_or_default();
        let ready =
            |pod: &Pod| conditions(pod).iter().any(|one| one.type_ == "Ready" && one.status == "True");
        Ok(found.iter().find(|pod| pod.metadata.name.as_ref() != Some(&name) && ready(pod)).map(|_| ()))
    })
    .await?;
    ground.report("after it, another pod ready", begun.elapsed())
}

/// A silent kubelet forwards nothing and tells nothing; when it speaks again, it tells what happened.
async fn silence(ground: &Ground) -> anyhow::Result<()> {
    let name = first(ground).await?;
    ground.kubelet.fall_silent();
    let near = ByPortForward::new(ground.client());
    let at = PodPort { namespace: WORK.to_owned(), pod: name.clone(), ip: None, port: 15_020 };
    let answer = near.ask(&at, &Call::get("/healthz/ready", Duration::from_secs(3))).await;
    ensure!(answer.is_err(), "nobody forwards: {answer:?}");
    let restarts = async || -> anyhow::Result<i32> {
        let status = pods(ground).get(&name).await?.status.unwrap_or_default();
        Ok(status.init_container_statuses.unwrap_or_default().first().map_or(0, |proxy| proxy.restart_count))
    };
    let before = restarts().await?;
    let killed = ground.kubelet.envoy(WORK, &name)?;
    killed.kill()?;
    until("another Envoy runs", SOON, async || {
        Ok(ground.kubelet.envoy(WORK, &name).ok().filter(|envoy| envoy.pid != killed.pid))
    })
    .await?;
    // Two beats later nobody has renewed a lease, and nobody has told of the restart.
    let leases = ground.api("kube-node-lease", "coordination.k8s.io/v1", "Lease");
    until("the lease of a silent node grows old", SOON, async || {
        let lease = leases.get(NODES[0]).await?;
        let renewed: Timestamp = lease.data["spec"]["renewTime"].as_str().context("a time")?.parse()?;
        Ok((Clock::wall().duration_since(renewed) > SignedDuration::from_secs(7)).then_some(()))
    })
    .await?;
    same("restarts that were told", &restarts().await?, &before)?;
    ground.kubelet.speak();
    until("the restart is told", SOON, async || Ok((restarts().await? > before).then_some(()))).await
}
