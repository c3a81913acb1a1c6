//! What one look at the simulated shop tells without a Prometheus, in virtual time: the same whenever it is made and
//! however fast the machine is.

use super::*;
use crate::app::board::Boards;
use crate::app::feed;
use crate::app::in_process::InProcess;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::History;
use crate::health::Counts;
use crate::model::indicator::Level;
use crate::rules::{RuleFiles, Rules};
use crate::sim::{Fault, Sim};
use crate::sources::agent::Agent;
use crate::sources::envoy::EnvoyAdmin;
use crate::sources::istiod::Istiod;
use crate::sources::proxy_check::ProxyCheck;

/// One look, so many seconds after the shop began, with the ways to proxies and istiod that a kubeconfig alone opens.
async fn look(faults: &[Fault], after_s: u64) -> Overview {
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let rules = Arc::new(Rules::load(&RuleFiles::embedded(), None).unwrap().rules);
    let sim = Sim::new(1, clock);
    for fault in faults {
        sim.inject(*fault);
    }
    tokio::time::sleep(Duration::from_secs(after_s)).await;
    let cluster = Arc::new(Cluster::new(sim.client(), vec!["*".to_owned()]));
    let (out, mut unused) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move { while unused.recv().await.is_some() {} });
    feed::watch(&cluster, &out);
    cluster.wait_synced().await;
    let transport = Arc::new(InProcess(sim));
    let check = ProxyCheck::new(Arc::clone(&transport) as _, Duration::from_secs(10));
    let (admin, agent) =
        (EnvoyAdmin::new(Arc::clone(&transport) as _), Agent::new(Arc::clone(&transport) as _));
    let boards = Boards::new(cluster, rules, None, clock, History { hold_s: 600, min_requests: 100 })
        .with_proxies(Some(admin), Some(agent))
        .with_mesh(Some(check), Some(Istiod::new(transport)));
    Eyes::over(Arc::new(boards), clock).look(&Scope::default()).await
}

// Mutations: traffic that is healthy, or absent, because nobody measures it; a reason without what to do;
// lines of more than 80 columns; colour where no terminal is.
#[tokio::test(start_paused = true)]
async fn without_prometheus_traffic_is_unknown_and_says_what_to_do() {
    // Later than the first second, in which nothing has been counted yet.
    for after_s in [20, 60, 120] {
        let found = look(&[], after_s).await;
        let out = Table::new(false).overview(&found).join("\n") + "\n";
        assert_eq!(out, include_str!("no_prometheus.txt"), "after {after_s} s");
        assert!(out.lines().all(|line| line.chars().count() <= 80) && !out.contains('\u{1b}'), "{out}");
    }
}

// Mutations: one silent answer for three; a share for a fleet of eighteen, which would be critical; a silent
// proxy that makes everything else wait for ever.
#[tokio::test(start_paused = true)]
async fn a_hung_proxy_is_found_by_asking_it_and_one_of_few_is_a_warning() {
    // Sooner than a proxy that takes nothing is told by its age, too.
    for after_s in [0, 1, 17] {
        let found = look(&[Fault::HungProxy], after_s).await;
        let all = || found.components.iter().flat_map(|part| &part.indicators);
        let ill = all().filter(|one| matches!(one.level, Level::Critical | Level::Warning));
        let mut ill: Vec<(&str, Level)> = ill.map(|one| (&*one.indicator, one.level)).collect();
        ill.sort_unstable_by_key(|(id, _)| *id);
        // What it is sent it does not acknowledge either.
        let expected =
            [("config.distribution", Level::Warning), ("data_plane.proxy_liveness", Level::Warning)];
        assert_eq!((ill, found.level), (expected.to_vec(), Level::Warning), "after {after_s} s");
        let liveness = find(&found, "data_plane.proxy_liveness").unwrap();
        assert_eq!(liveness.counts, Counts { critical: 1, warning: 0, unknown: 0, healthy: 17, idle: 0 });
        let why = &liveness.why;
        assert!(
            why.starts_with("1 of 18 not well: Pod shop/") && why.contains("no answer within 3 s"),
            "{why}"
        );
    }
}
