//! One container: its process is started, watched, probed and started again. It ends when its main process
//! does, and then all its processes are killed, frozen ones too.

use std::fs::OpenOptions;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container as Spec;
use meshmend::clock::Clock;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::probe::{HttpProbe, Next, Verdict};

/// The first restart comes at once, the second after this, and so on doubled. A kubelet begins with 10 s; with
/// a tenth of everything a proof takes seconds.
const BACK_OFF: Duration = Duration::from_secs(1);
/// A kubelet's longest is 5 minutes.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);
/// What ran for so long begins anew; 10 minutes in a kubelet.
const FORGIVEN: Duration = Duration::from_secs(60);

/// When a container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// How a container ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) id: String,
    pub(super) code: i32,
    pub(super) signal: Option<i32>,
    pub(super) since: Timestamp,
    pub(super) at: Timestamp,
}

/// What a container does.
#[derive(Clone, Debug)]
pub(super) enum Doing {
    /// It waits, for this reason.
    Waiting(&'static str),
    Running {
        pid: Pid,
        id: String,
        since: Timestamp,
    },
    Terminated(Ended),
}

/// A container as its status tells it.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) doing: Doing,
    pub(super) last: Option<Ended>,
    pub(super) restarts: u32,
    pub(super) started: bool,
    pub(super) ready: bool,
    /// It is not started again.
    pub(super) done: bool,
}

/// How it is started.
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) log: PathBuf,
}

/// One container of a pod.
pub(super) struct Container {
    pub(super) spec: Spec,
    pub(super) restart: Restart,
    pub(super) ip: Ipv4Addr,
    pod: String,
    start: Start,
    state: Mutex<State>,
    /// Somebody has to tell the API server.
    changed: Arc<Notify>,
    /// Told to end, with this grace.
    end: watch::Sender<Option<Duration>>,
}

impl Container {
    pub(super) fn new(
        (spec, restart): (Spec, Restart),
        (pod, ip): (String, Ipv4Addr),
        start: Start,
        changed: Arc<Notify>,
    ) -> Self {
        let doing = Doing::Waiting("PodInitializing");
        let state = State { doing, last: None, restarts: 0, started: false, ready: false, done: false };
        let (end, _) = watch::channel(None);
        Self { spec, restart, ip, pod, start, state: Mutex::new(state), changed, end }
    }

    pub(super) fn state(&self) -> State {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.locked());
        self.changed.notify_one();
    }

    /// The main process, while it runs.
    pub(super) fn main_process(&self) -> Option<Pid> {
        match self.locked().doing {
            Doing::Running { pid, .. } => Some(pid),
            Doing::Waiting(_) | Doing::Terminated(_) => None,
        }
    }

    /// Tells it to end: SIGTERM, and after the grace SIGKILL.
    pub(super) fn end(&self, grace: Duration) {
        self.end.send_replace(Some(grace));
    }

    /// Waits until somebody wants it to end; the answer is the grace.
    async fn told_to_end(&self) -> Duration {
        let mut end = self.end.subscribe();
        // The sender lives as long as the container does.
        end.wait_for(Option::is_some).await.map_or_else(|_| Duration::ZERO, |told| told.unwrap_or_default())
    }

    /// Runs it until it is not started again.
    pub(super) async fn live(self: Arc<Self>) {
        let mut back_off = None;
        for attempt in 0.. {
            let begun = Instant::now();
            let ended = match self.run_once(attempt).await {
                Ok(ended) => ended,
                Err(error) => {
                    crate::say(&format!(
                        "kubelet: {} of {} did not start: {error:#}",
                        self.spec.name, self.pod
                    ));
                    self.set(|state| (state.doing, state.done) = (Doing::Waiting("RunContainerError"), true));
                    return;
                }
            };
            let again = self.end.borrow().is_none()
                && match self.restart {
                    Restart::Always => true,
                    Restart::OnFailure => ended.code != 0,
                    Restart::Never => false,
                };
            self.set(|state| {
                (state.started, state.ready, state.done) = (false, false, !again);
                state.doing = Doing::Terminated(ended);
            });
            if !again {
                return;
            }
            if begun.elapsed() > FORGIVEN {
                back_off = None;
            }
            if let Some(pause) = back_off {
                self.set(|state| {
                    if let Doing::Terminated(ended) = &state.doing {
                        state.last = Some(ended.clone());
                    }
                    state.doing = Doing::Waiting("CrashLoopBackOff");
                });
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = self.told_to_end() => { self.set(|state| state.done = true); return; }
                }
            }
            back_off = Some(back_off.map_or(BACK_OFF, |pause| (pause * 2).min(LONGEST_BACK_OFF)));
        }
    }

    /// Starts it for the so manieth time and waits for its end.
    async fn run_once(&self, restarts: u32) -> anyhow::Result<Ended> {
        let mut child = self.spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.context("it has ended at once")?;
        let since = Clock::wall();
        let id = format!("containerd://{}-{}-{restarts}", self.pod, self.spec.name);
        self.set(|state| {
            if let Doing::Terminated(ended) = &state.doing {
                state.last = Some(ended.clone());
            }
            state.restarts = restarts;
            state.doing = Doing::Running { pid, id: id.clone(), since };
        });
        let status = tokio::select! {
            status = child.wait() => status?,
            grace = self.told_to_end() => finish(&mut child, pid, grace).await?,
            failed = self.probe(pid) => { failed?; child.wait().await? }
        };
        // A runtime ends a container with its main process: whatever is left goes, frozen or not. The group
        // has no member any more where nothing was left.
        kill_process_group(pid, Signal::KILL).ok();
        Ok(Ended { id, code: code(status), signal: status.signal(), since, at: Clock::wall() })
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let log = &self.start.log;
        let folder = log.parent().context("a log lies in a folder")?;
        std::fs::create_dir_all(folder)?;
        let out = OpenOptions::new().create(true).append(true).open(log)?;
        Command::new(&self.start.program)
            .args(&self.start.args)
            .env_clear()
            .envs(self.start.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} does not start", self.start.program.display()))
    }

    /// Probes it. Comes back only with an error: what fails for too long is killed, and its end is waited for
    /// by others.
    async fn probe(&self, pid: Pid) -> anyhow::Result<()> {
        let read =
            |probe: &Option<_>| probe.as_ref().map(|probe| HttpProbe::read(probe, self.ip)).transpose();
        if let Some(startup) = read(&self.spec.startup_probe)? {
            startup
                .run(|verdict| {
                    if verdict == Verdict::Bad {
                        kill_process(pid, Signal::KILL).ok();
                    }
                    Next::Enough
                })
                .await?;
        }
        self.set(|state| state.started = true);
        let (readiness, liveness) = (read(&self.spec.readiness_probe)?, read(&self.spec.liveness_probe)?);
        let ready = async {
            let Some(probe) = readiness else {
                self.set(|state| state.ready = true);
                return std::future::pending().await;
            };
            probe
                .run(|verdict| {
                    let good = verdict == Verdict::Good;
                    if self.locked().ready != good {
                        self.set(|state| state.ready = good);
                    }
                    Next::Again
                })
                .await
        };
        let live = async {
            let Some(probe) = liveness else { return std::future::pending().await };
            probe
                .run(|verdict| {
                    if verdict == Verdict::Bad {
                        kill_process(pid, Signal::KILL).ok();
                    }
                    Next::Again
                })
                .await
        };
        tokio::try_join!(ready, live).map(|_: ((), ())| ())
    }
}

/// SIGTERM to the main process, as a runtime sends it, and after the grace SIGKILL to all of them.
async fn finish(child: &mut Child, pid: Pid, grace: Duration) -> anyhow::Result<ExitStatus> {
    // It may have ended in this very moment.
    kill_process(pid, Signal::TERM).ok();
    if let Ok(status) = tokio::time::timeout(grace, child.wait()).await {
        return Ok(status?);
    }
    kill_process_group(pid, Signal::KILL).ok();
    Ok(child.wait().await?)
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
