//! Why we did, and why we did not: refusals are values, modelled as carefully as acts.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::duration;
use super::event::InForce;

/// One cause of a decision. The code is stable; the sentence is for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are named after what the sentence in Display says of them")]
pub enum Reason {
    // --- selecting and planning
    /// No playbook names this symptom or alert.
    NoPlaybook,
    /// The playbook's `applies` said no.
    NotApplicable,
    /// The playbook's `plan` said no, with its words.
    PlaybookRefused { text: String },
    /// Another playbook with a higher priority already yielded a plan.
    Outranked { by: String },
    /// The script failed or exceeded a limit.
    ScriptFailed { text: String },
    /// A fact that was asked for could not be read.
    FactUnknown { fact: String, why: String },
    /// The indicator that would verify the act cannot be read.
    IndicatorUnreadable { indicator: String, why: String },
    /// The plan is not one we can carry out.
    InvalidPlan { text: String },
    // --- refusals of a rollback, whatever the script says
    /// No revision of the route is known to be good.
    NoGoodRevision,
    /// The revision in force is itself good.
    CurrentIsGood,
    /// A tool owns the object and would take the change back.
    Managed { by: String },
    /// The object delegates, or is a delegate.
    Delegates,
    /// The object has a wildcard host.
    WildcardHost,
    /// Another object is in force for the host.
    NotInForce { by: String },
    /// The revision leads to a host or subset that does not exist.
    UndefinedSubset { host: String, subset: String },
    /// The revision leads to too few ready endpoints.
    TooFewEndpoints { host: String, subset: String, ready: u32, needed: u32 },
    // --- refusals of the other acts, whatever the script says
    /// The proxy rejects its configuration: a new one would have none at all.
    ProxyRejects { error: String },
    /// No replica of the control plane is ready: a new proxy would get neither configuration nor certificate.
    ControlPlaneDown { name: String },
    /// The container would not be started again.
    NotRestarted { why: String },
    /// The disruption budget has no room.
    NoBudget { budget: String },
    /// It was restarted a short while ago, and the next start would wait for the back-off.
    RestartedRecently { seconds: u64 },
    /// The pod, or its workload, is already being replaced.
    BeingReplaced { what: String },
    /// Nobody would replace the pod.
    NotReplaced { owner: String },
    /// Clients may eject endpoints by themselves: limits on top of that could leave none.
    Ejecting,
    /// Our own limits are on the rule already.
    AlreadyShed,
    /// Other rules have their say for the host, so that a change of one would not be what it seems.
    SeveralRules { others: String },
    /// Too few endpoints are ready to shed load for them.
    TooFewToShed { ready: u32 },
    /// The issuer cannot sign now.
    IssuerNotReady,
    /// A new certificate is being issued already.
    AlreadyIssuing,
    /// The certificate is not near its end.
    NotDue { left_percent: u32 },
    // --- the gate
    /// Mode is observe: everything but the write.
    ModeObserve,
    /// No policy covers it, or one excludes it.
    OutOfScope { what: String },
    /// A limit on acts per window is used up.
    LimitReached { per: String, acts: u32, window_s: u64 },
    /// The target rests after an act.
    CoolingDown { seconds: u64 },
    /// The attempts for this target and family are spent; they come back after a healthy period.
    AttemptsSpent { attempts: u32 },
    /// We already touch as many targets as the blast radius allows.
    ConcurrentReached { domain: String, touched: u64, allowed: u64 },
    /// Another incident is acting on the target.
    Claimed { incident: String },
    /// The plan has not been rehearsed yet.
    NotRehearsed,
    /// The API server refused the dry run.
    RehearsalFailed { why: String },
    /// We lack a right.
    RightMissing { verb: String, resource: String, namespace: String },
    /// The agent is shutting down and starts nothing new.
    Draining,
    /// The wall clock jumped; acts wait for the next evaluation.
    ClockJumped,
    /// The journal's disk is full: what is in reserve is for taking back.
    JournalFull,
    // --- approvals
    /// Waits for a vote.
    ApprovalNeeded,
    /// Nobody voted in time.
    ApprovalExpired,
    /// A person said no.
    Denied { by: String, comment: String },
    /// A person said yes.
    Approved { by: String },
    /// After the approval the playbook proposed something else.
    Superseded,
    // --- acting and verifying
    /// A precondition did not hold.
    Stale { why: String },
    /// The step failed.
    StepFailed { why: String },
    /// It is not known whether the write happened; the state is read again.
    OutcomeUnknown { why: String },
    /// The indicator was not critical, with enough samples, for the hold time.
    Recovered { value: Option<f64> },
    /// Still critical when the time was up.
    NotRecovered { value: Option<f64> },
    /// Too few samples or unreadable when the time was up.
    Inconclusive { why: String },
    /// The act was taken back.
    Undone,
    /// Somebody else took the act back while we waited for it to help: it is not known whether it would have.
    TakenBack { by: String },
    /// The act could not be taken back.
    UndoFailed { why: String },
    /// An agent left limits on the object of which no case of this journal knows.
    Orphaned { incident: String, expires: Option<Timestamp> },
    /// It could not be taken back yet, and is tried again.
    StillOwed { why: String },
    /// The playbook's `next` gave up.
    PlaybookEscalated { text: String },
    /// The act was planned once more.
    Retried,
    // --- ends
    /// The signal resolved before we acted.
    SignalResolved,
    /// The subject vanished.
    SubjectGone,
    /// A phase took too long.
    DeadlinePassed { phase: String },
    /// A playbook that only notifies has done so.
    Notified,
    /// The notification could not be delivered.
    NotificationFailed { why: String },
    /// The agent was restarted while a step ran.
    Restarted,
    // --- the whole gate
    /// So many of a kind are ill at once that people have to look.
    Storm { domain: String, ill: u64, bound: u64 },
    /// A storm is over, and may come back.
    AfterStorm { domain: String },
    /// Acts of this playbook failed too often.
    BreakerOpen { policy: String, failures: u32 },
    /// After too many failures one act may try, and another one does.
    TrialRuns { policy: String, incident: String },
    /// A window of a policy does not let act now.
    OutsideWindow { policy: String, window: String },
    /// A policy freezes everything for a time.
    Frozen { policy: String, reason: String },
    /// An operator holds new acts.
    Paused { what: String, by: String, reason: String },
    /// An operator stopped the case.
    Aborted {
        by: String,
        comment: String,
        /// What they want done with the act in force.
        #[serde(default, skip_serializing_if = "is_kept")]
        in_force: InForce,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_kept(in_force: &InForce) -> bool {
    *in_force == InForce::Keep
}

impl fmt::Display for Reason {
    #[expect(clippy::too_many_lines, reason = "one arm per reason; splitting the table would hide it")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPlaybook => f.write_str("no playbook matches this signal"),
            Self::NotApplicable => f.write_str("the playbook's applies() said no"),
            Self::PlaybookRefused { text } => write!(f, "the playbook refused: {text}"),
            Self::Outranked { by } => write!(f, "playbook {by} came first"),
            Self::ScriptFailed { text } => write!(f, "the playbook failed: {text}"),
            Self::FactUnknown { fact, why } => write!(f, "fact {fact} could not be read: {why}"),
            Self::IndicatorUnreadable { indicator, why } => {
                write!(f, "{indicator}, which would verify the act, cannot be read: {why}")
            }
            Self::InvalidPlan { text } => write!(f, "the plan is not valid: {text}"),
            Self::NoGoodRevision => f.write_str("no revision of this route is known to be good"),
            Self::CurrentIsGood => f.write_str("the revision in force is known to be good"),
            Self::Managed { by } => write!(f, "{by} owns the object and would take the change back"),
            Self::Delegates => {
                f.write_str("the route delegates or is a delegate; these are not rolled back yet")
            }
            Self::WildcardHost => f.write_str("the route has a wildcard host; these are not rolled back yet"),
            Self::NotInForce { by } => write!(f, "the route is not in force for its host: {by} wins"),
            Self::UndefinedSubset { host, subset } => {
                write!(f, "the good revision leads to {host} subset {subset:?}, which is not defined")
            }
            Self::TooFewEndpoints { host, subset, ready, needed } => write!(
                f,
                "the good revision leads to {host} subset {subset:?} with {ready} ready endpoints, {needed} are needed"
            ),
            Self::ProxyRejects { error } => write!(
                f,
                "the proxy rejects its configuration ({error}): a restart would lose the last one it took"
            ),
            Self::ControlPlaneDown { name } => {
                write!(f, "no replica of {name} is ready: a new proxy would get no configuration")
            }
            Self::NotRestarted { why } => write!(f, "the proxy would not be started again: {why}"),
            Self::NoBudget { budget } => write!(f, "disruption budget {budget} has no room"),
            Self::RestartedRecently { seconds } => {
                let ago = duration::format(std::time::Duration::from_secs(*seconds));
                write!(f, "the proxy was restarted {ago} ago; a second restart would meet the back-off")
            }
            Self::BeingReplaced { what } => write!(f, "{what} is being replaced already"),
            Self::NotReplaced { owner } => write!(f, "nobody would replace the pod: it belongs to {owner}"),
            Self::Ejecting => {
                f.write_str("the rule lets clients eject endpoints: limits on top of that could leave none")
            }
            Self::AlreadyShed => f.write_str("load is being shed there already"),
            Self::SeveralRules { others } => write!(f, "other rules have their say for the host: {others}"),
            Self::TooFewToShed { ready } => {
                write!(f, "{ready} endpoints are ready, two are needed to shed load for them")
            }
            Self::IssuerNotReady => f.write_str("the issuer is not ready"),
            Self::AlreadyIssuing => f.write_str("a new certificate is being issued already"),
            Self::NotDue { left_percent } => write!(f, "{left_percent} % of the certificate's life is left"),
            Self::ModeObserve => f.write_str("the mode is observe: nothing is written"),
            Self::OutOfScope { what } => write!(f, "out of scope: {what}"),
            Self::LimitReached { per, acts, window_s } => {
                let window = duration::format(std::time::Duration::from_secs(*window_s));
                write!(f, "limit reached: {acts} acts per {per} in {window}")
            }
            Self::CoolingDown { seconds } => {
                let rest = duration::format(std::time::Duration::from_secs(*seconds));
                write!(f, "the target rests for another {rest} after the last act")
            }
            Self::AttemptsSpent { attempts } => {
                write!(f, "all {attempts} attempts are spent; they come back after a healthy period")
            }
            Self::ConcurrentReached { domain, touched, allowed } => {
                write!(
                    f,
                    "{touched} targets of this {domain} are being acted on, {allowed} are allowed at once"
                )
            }
            Self::Claimed { incident } => write!(f, "incident {incident} is acting on the target"),
            Self::NotRehearsed => f.write_str("the dry run has not answered yet"),
            Self::RehearsalFailed { why } => write!(f, "the dry run was refused: {why}"),
            Self::RightMissing { verb, resource, namespace } => {
                write!(f, "the right to {verb} {resource} in namespace {namespace} is missing")
            }
            Self::Draining => f.write_str("the agent is shutting down"),
            Self::JournalFull => f.write_str("the journal's disk is full: nothing new is begun"),
            Self::ClockJumped => f.write_str("the wall clock jumped"),
            Self::ApprovalNeeded => f.write_str("an approval is needed"),
            Self::ApprovalExpired => f.write_str("nobody approved in time"),
            Self::Denied { by, comment } if comment.is_empty() => write!(f, "denied by {by}"),
            Self::Denied { by, comment } => write!(f, "denied by {by}: {comment}"),
            Self::Approved { by } => write!(f, "approved by {by}"),
            Self::Superseded => f.write_str("the approved plan no longer fits; a new one was made"),
            Self::Stale { why } => write!(f, "the object changed meanwhile: {why}"),
            Self::StepFailed { why } => write!(f, "the step failed: {why}"),
            Self::OutcomeUnknown { why } => write!(f, "it is not known whether the write happened: {why}"),
            Self::Recovered { value: Some(value) } => write!(f, "recovered: the indicator reads {value:.4}"),
            Self::Recovered { value: None } => f.write_str("recovered"),
            Self::NotRecovered { value: Some(value) } => {
                write!(f, "not recovered: the indicator still reads {value:.4}")
            }
            Self::NotRecovered { value: None } => f.write_str("not recovered"),
            Self::Inconclusive { why } => write!(f, "it is not known whether it helped: {why}"),
            Self::Undone => f.write_str("the act was taken back"),
            Self::TakenBack { by } => {
                write!(f, "somebody else took the act back: the revision that {by:?} wrote is in force again")
            }
            Self::UndoFailed { why } => write!(f, "the act could not be taken back: {why}"),
            Self::Orphaned { incident, expires: Some(expires) } => {
                write!(
                    f,
                    "incident {incident}, of which no open case is known here, left limits that expired at {expires}"
                )
            }
            Self::Orphaned { expires: None, .. } => {
                f.write_str("an agent left limits, with a mark that cannot be read")
            }
            Self::StillOwed { why } => write!(f, "not taken back yet, and tried again: {why}"),
            Self::PlaybookEscalated { text } => write!(f, "the playbook gave up: {text}"),
            Self::Retried => f.write_str("tried once more"),
            Self::SignalResolved => f.write_str("the signal resolved by itself"),
            Self::SubjectGone => f.write_str("the subject does not exist any more"),
            Self::DeadlinePassed { phase } => write!(f, "phase {phase} took too long"),
            Self::Notified => f.write_str("people were notified"),
            Self::NotificationFailed { why } => write!(f, "the notification could not be delivered: {why}"),
            Self::Restarted => f.write_str("the agent was restarted while a step ran"),
            Self::Storm { domain, ill, bound } => {
                write!(f, "storm: {ill} {domain} are ill at once, {bound} are the bound")
            }
            Self::AfterStorm { domain } => write!(f, "a storm of {domain} is hardly over"),
            Self::BreakerOpen { policy, failures } => {
                write!(f, "the breaker of policy {policy} is open: {failures} acts failed or did not help")
            }
            Self::TrialRuns { policy, incident } => {
                write!(f, "the breaker of policy {policy} lets one act try, that of {incident}")
            }
            Self::OutsideWindow { policy, window } => write!(f, "policy {policy} closes now: {window}"),
            Self::Frozen { policy, reason } => write!(f, "frozen by policy {policy}: {reason}"),
            Self::Paused { what, by, reason } => write!(f, "{what} is paused by {by}: {reason}"),
            Self::Aborted { by, comment, .. } if comment.is_empty() => write!(f, "aborted by {by}"),
            Self::Aborted { by, comment, .. } => write!(f, "aborted by {by}: {comment}"),
        }
    }
}

/// A reason that holds until a certain time, or until something changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Why we wait.
    pub reason: Reason,
    /// When it is over by itself; `None` when only an event can end it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}
