//! The command that serves the simulated cluster.

use anyhow::Context as _;

use super::commands::Sim as Args;
use super::people;
use super::work::{log, runtime};
use super::{FINE, Usage};
use crate::clock::Clock;
use crate::sim::{Fault, Sim, serve};

pub(super) fn sim(args: &Args) -> anyhow::Result<u8> {
    let named = |name: &String| {
        Fault::named(name).ok_or_else(|| {
            let known = Fault::ALL.map(Fault::name).join(", ");
            Usage(format!("there is no fault {name:?}; those there are: {known}"))
        })
    };
    let faults = args.fault.iter().map(named).collect::<Result<Vec<_>, _>>()?;
    let _written = log("error");
    runtime()?.block_on(async {
        let sim = Sim::new(args.seed, Clock::system(None));
        let serving = serve(&sim, args.listen).await?;
        let text = format!("{:#}\n", serving.kubeconfig());
        std::fs::write(&args.kubeconfig, text)
            .with_context(|| format!("cannot write the kubeconfig {}", args.kubeconfig.display()))?;
        let file = args.kubeconfig.display();
        people::say(format!("API server   http://{}", serving.api));
        people::say(format!("Prometheus   http://{}", serving.prometheus));
        people::say(format!("kubeconfig   {file}"));
        people::say(format!("try          kubectl --kubeconfig {file} get pods -A"));
        for fault in faults {
            let injected = sim.inject(fault);
            people::say(format!("fault        {}: {}", fault.name(), injected.subject));
        }
        people::say("Ctrl-C ends it.");
        tokio::select! {
            done = tokio::signal::ctrl_c() => done.context("cannot wait for Ctrl-C"),
            () = serving.ended() => Err(anyhow::anyhow!("a server of the simulated cluster ended")),
        }
    })?;
    Ok(FINE)
}
