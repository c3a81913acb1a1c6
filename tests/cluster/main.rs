//! Tests on a real API server: etcd and kube-apiserver as plain processes on loopback, Istio's CRDs, and the
//! agent as a separate process with the rights that `meshmend rbac` prints and no others.
//!
//! `tests/run.sh` builds the control plane and names it in `MESHMEND_TEST_CONTROL_PLANE`. Where that is
//! unset the tests are listed as ignored, and a line says so; where it names something unusable they fail.

mod acts;
#[expect(dead_code, reason = "the proving ground has an Alertmanager, too")]
mod agent;
mod certificates;
#[expect(dead_code, reason = "the proving ground runs controllers and scheduler, too")]
mod control_plane;
mod crash;
mod deed;
mod differential;
mod grant;
mod heal;
mod hung;
mod inventory;
mod kubelet;
mod least;
mod life;
mod observe;
mod overload;
#[expect(dead_code, reason = "the proving ground has pods to forward to")]
mod port_forward;
#[expect(dead_code, reason = "the proving ground stops and freezes parts of the run, too")]
mod process;
mod prometheus;
#[expect(dead_code, reason = "the proofs use the rest")]
mod proxy;
mod renewal;
mod rollback;
mod scene;
mod sidecar;
mod stale;
mod unreadable;
mod wait;
mod watch;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Failed, Trial};

use control_plane::{ControlPlane, Extent};
use scene::Scene;

/// Names the folder with the built control plane.
const VARIABLE: &str = "MESHMEND_TEST_CONTROL_PLANE";
/// No story waits for longer; each of its own waits is shorter.
const LIMIT: Duration = Duration::from_secs(180);
/// Stories mostly wait, so more of them run at once than there are cores.
const AT_ONCE: usize = 12;

type Story = fn(Scene) -> LocalBoxFuture<'static, anyhow::Result<()>>;

/// Name, namespace, story.
const STORIES: &[(&str, &str, Story)] = &[
    ("an_alert_rolls_a_bad_route_back_with_the_least_rights", "heal", |s| Box::pin(heal::alert(s))),
    ("nothing_but_traffic_or_a_blessing_makes_a_revision_good", "bless", |s| Box::pin(heal::bless(s))),
    ("a_destination_rule_is_rolled_back_where_the_route_is_good", "rules", |s| Box::pin(rollback::rule(s))),
    ("an_http_route_is_rolled_back_with_the_rights_for_it", "http-routes", |s| Box::pin(rollback::http(s))),
    ("a_plan_approved_too_late_is_superseded", "late", |s| Box::pin(stale::approved_too_late(s))),
    ("a_change_right_before_the_write_makes_it_stale", "race", |s| Box::pin(stale::changed_spec(s))),
    ("a_race_about_something_else_is_run_again", "again", |s| Box::pin(stale::changed_labels(s))),
    ("an_expired_watch_is_survived", "watch", |s| Box::pin(watch::expired(s))),
    ("an_interrupted_watch_is_whole_again", "break", |s| Box::pin(watch::interrupted(s))),
    ("all_kinds_are_watched_with_the_shipped_rights", "inventory", |s| Box::pin(inventory::owners(s))),
    ("observe_changes_nothing_and_names_the_missing_right", "observe", |s| Box::pin(observe::story(s))),
    ("killed_before_a_write_that_is_lost_it_acts_once", "lost", |s| Box::pin(crash::lost(s))),
    ("killed_before_a_write_that_arrives_it_acts_once", "arrives", |s| Box::pin(crash::arrives(s))),
    ("an_unreadable_prometheus_never_causes_an_act", "unknown", |s| Box::pin(unreadable::prometheus(s))),
    ("an_api_server_away_at_the_start_is_waited_for", "away", |s| Box::pin(unreadable::away(s))),
    ("an_account_without_rights_is_told_which_are_missing", "nobody", |s| Box::pin(unreadable::nobody(s))),
    ("an_idle_agent_is_small_and_ends_on_sigterm", "life", |s| Box::pin(life::idle(s))),
    ("a_second_agent_on_a_journal_refuses_to_start", "second", |s| Box::pin(life::second(s))),
    ("a_budgets_429_is_told_at_once_and_asked_for_once", "evict", |s| Box::pin(acts::eviction(s))),
    ("a_rollout_is_started_once_and_a_denial_is_told_as_one", "rollout", |s| Box::pin(acts::rollout(s))),
    ("a_shed_is_taken_back_byte_for_byte", "shed", |s| Box::pin(acts::shedding(s))),
    ("every_shed_is_taken_back_with_the_agent_gone", "restore", |s| Box::pin(acts::restore_all(s))),
    ("a_sidecar_drains_and_quits_by_port_forward", "sidecar", |s| Box::pin(sidecar::quits(s))),
    ("a_hung_agent_is_found_out_before_anything_is_drained", "hung", |s| Box::pin(sidecar::hangs(s))),
    ("cert_managers_own_controllers_renew_a_certificate", "renew", |s| Box::pin(renewal::story(s))),
    ("an_overload_is_shed_and_the_shed_expires", "overload", |s| Box::pin(overload::expires(s))),
    ("killed_in_a_shed_that_arrives_it_takes_it_back", "shed-arrives", |s| {
        Box::pin(overload::killed_arrives(s))
    }),
    ("killed_in_a_shed_that_is_lost_it_sheds_once", "shed-lost", |s| Box::pin(overload::killed_lost(s))),
    ("the_simulated_cluster_answers_as_the_real_one", "written", |s| Box::pin(differential::written(s))),
    ("it_answers_generated_requests_as_the_real_one", "seeds", |s| Box::pin(differential::generated(s))),
    ("a_hung_proxy_is_restarted_where_a_budget_has_room", "proxies", |s| Box::pin(hung::story(s))),
];

static PLANE: OnceLock<Result<ControlPlane, String>> = OnceLock::new();

fn main() -> ExitCode {
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(AT_ONCE);
    let built = std::env::var_os(VARIABLE).map(PathBuf::from);
    if built.is_none() && !args.list {
        say(&format!(
            "left out: the {} tests on a real API server, because {VARIABLE} is not set; run tests/run.sh",
            STORIES.len()
        ));
    }
    let trials = STORIES
        .iter()
        .map(|(name, namespace, story)| {
            let built = built.clone();
            let ignored = built.is_none();
            Trial::test(*name, move || tell(built, namespace, *story)).with_ignored_flag(ignored)
        })
        .collect();
    let conclusion = libtest_mimic::run(&args, trials);
    if let Some(Ok(plane)) = PLANE.get() {
        plane.stop();
        if conclusion.has_failed() {
            say(&format!("everything the run wrote is kept in {}", plane.folder.display()));
        } else {
            std::fs::remove_dir_all(&plane.folder).ok();
        }
    }
    conclusion.exit_code()
}

fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}

/// Runs one story on the run's control plane, which the first of them starts.
fn tell(built: Option<PathBuf>, namespace: &str, story: Story) -> Result<(), Failed> {
    let built = built.ok_or_else(|| Failed::from(format!("{VARIABLE} is not set: run tests/run.sh")))?;
    let plane = PLANE
        .get_or_init(|| ControlPlane::start(&built, Extent::Server).map_err(|error| format!("{error:#}")));
    let plane = plane.as_ref().map_err(Failed::from)?;
    let told = play(plane, namespace, story);
    told.map_err(|error| {
        let logs = process::logs(&plane.folder.join(namespace));
        Failed::from(format!("{error:#}\n{logs}"))
    })
}

fn play(plane: &'static ControlPlane, namespace: &str, story: Story) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let played = runtime.block_on(async {
        let scene = Scene::make(plane, namespace).await?;
        tokio::time::timeout(LIMIT, story(scene)).await.context("the story did not end")?
    });
    // Test doubles that hang on purpose are not waited for.
    runtime.shutdown_background();
    played
}
