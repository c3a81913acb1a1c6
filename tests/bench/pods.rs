//! Memory of the watches: a process of its own that keeps very many pods, and nothing else.

use std::io::Write as _;
use std::process::Command;

use anyhow::{Context as _, ensure};
use meshmend::cluster::{Inventory, PodObject};
use serde_json::Value;

use crate::machine;

/// The argument with which this program only keeps pods and tells what it weighs.
pub(crate) const KEEP: &str = "--keep-pods";

/// Pods of a large mesh.
pub(crate) const PODS: usize = 100_000;

/// Resident memory in MiB of a process that keeps the pods.
pub(crate) fn resident_mib() -> anyhow::Result<f64> {
    let told = Command::new(std::env::current_exe()?).arg(KEEP).output().context("it did not start")?;
    ensure!(told.status.success(), "it ended with {}", told.status);
    Ok(String::from_utf8(told.stdout)?.trim().parse()?)
}

/// Keeps the pods as the watches do, each dropped as it came, and prints the resident memory.
pub(crate) fn keep() -> anyhow::Result<()> {
    let recorded = serde_json::from_str(include_str!("../recorded/pod-classic-sidecar.json"))?;
    let mut inventory = Inventory::default();
    for number in 0..PODS {
        drop(inventory.keep_pod(&pod(&recorded, number)?));
    }
    writeln!(std::io::stdout(), "{}", machine::resident_mib(std::process::id()))?;
    drop(inventory);
    Ok(())
}

fn pod(recorded: &Value, number: usize) -> anyhow::Result<PodObject> {
    Ok(serde_json::from_value(written(recorded, number))?)
}

/// A recorded pod with a sidecar as one of many: ten to a ReplicaSet, a hundred nodes.
pub(crate) fn written(recorded: &Value, number: usize) -> Value {
    let mut pod = recorded.clone();
    let workload = format!("client-{:05}-74867dcd64", number / 10);
    pod["metadata"]["name"] = format!("{workload}-{number:05}").into();
    pod["metadata"]["namespace"] = format!("team-{:03}", number / 1_000).into();
    pod["metadata"]["uid"] = format!("66865dc4-3922-4115-b0af-{number:012}").into();
    pod["metadata"]["labels"]["app"] = workload.clone().into();
    pod["metadata"]["ownerReferences"][0]["name"] = workload.into();
    pod["spec"]["nodeName"] = format!("node-{:03}", number % 100).into();
    pod["status"]["podIP"] = format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255).into();
    pod
}
