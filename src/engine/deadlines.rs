//! How long anything may take. Every phase has an end that the engine enforces, so no case gets stuck.

use jiff::{SignedDuration, Timestamp};

/// An inspection reads a handful of objects with 10 s each; three times that means nobody answers.
pub(super) const INSPECTING: SignedDuration = SignedDuration::from_secs(60);
/// A plan that is held back (limit, cooldown, mode) waits an hour for the signal to resolve.
pub(super) const PLANNED: SignedDuration = SignedDuration::from_secs(3_600);
/// How long a permit lasts: longer than a healthy API server needs, shorter than a person notices.
pub(super) const PERMIT: SignedDuration = SignedDuration::from_secs(15);
/// Time limit of a write (10 s, in the effector) plus clock error: after the permit's end and this, no
/// write of ours can still arrive.
pub(super) const WRITE_GRACE: SignedDuration = SignedDuration::from_secs(12);
/// A step that has not answered by then is read from state.
pub(super) const EXECUTING: SignedDuration = SignedDuration::from_secs(40);
/// How long reading back the state of an unknown outcome is tried.
pub(super) const RECONCILING: SignedDuration = SignedDuration::from_secs(600);
/// Pause between two tries to read the state.
pub(super) const RECONCILE_EVERY: SignedDuration = SignedDuration::from_secs(10);
/// Facts older than this are read again before an act.
pub(super) const FACTS_FRESH: SignedDuration = SignedDuration::from_secs(30);
/// Pause before a dry run that could not be tried is tried again.
pub(super) const REHEARSE_AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// After so many of them, ten minutes, people are told.
pub(super) const REHEARSE_TRIES: usize = 20;
/// How long an unanswered probe may take beyond its time.
pub(super) const PROBE_GRACE: SignedDuration = SignedDuration::from_secs(60);
/// How long a case waits for what explains it: a control plane that stays down for a day is surely with
/// people, and its proxies with it.
pub(super) const EXPLAINED: SignedDuration = SignedDuration::from_secs(86_400);
/// Between two acts that are taken back because they expire: each is a change of load that clients notice,
/// and twenty at once would be one that nobody could tell apart.
pub(super) const RESTORE_PACE: SignedDuration = SignedDuration::from_secs(5);
/// After a recovery, alerts that began before it may repeat this long until they notice; Prometheus'
/// `for` plus Alertmanager's `group_interval` and `repeat` rarely exceed it.
pub(super) const SETTLE: SignedDuration = SignedDuration::from_secs(1_800);
/// A first step that did not arrive is tried again this often.
pub(super) const WRITE_TRIES: usize = 3;
/// First pause before a try to take back is repeated: a webhook or an API server that is restarted is there
/// again by then. Each further pause is twice as long.
pub(super) const UNDO_PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// The longest of these pauses: what is ours is gone five minutes after writes are possible again.
pub(super) const UNDO_PAUSE_MAX: SignedDuration = SignedDuration::from_secs(300);
/// An undo that no expiry asks for is tried this often: with those pauses, a day.
pub(super) const UNDO_TRIES: u32 = 290;
/// People who know that something is overdue are reminded this often: a watch of a shift, and no flood.
pub(super) const REMIND: SignedDuration = SignedDuration::from_secs(3_600);
/// Whoever left a mark has this long beyond its expiry to take it back, its own first tries included.
pub(super) const ORPHANED: SignedDuration = SignedDuration::from_secs(120);
/// Ended cases that stay in memory; older ones are in the journal.
pub(super) const ENDED_KEPT: usize = 500;
/// How long it is remembered how the last case of a key ended: longer than any sender's pause between two
/// repeats (Alertmanager's default is four hours, some take a day).
pub(super) const KEYS_KEPT: SignedDuration = SignedDuration::from_secs(7 * 86_400);
/// How far a sender's clock may be ahead of ours before we stop believing it.
const CLOCKS_APART: SignedDuration = SignedDuration::from_secs(86_400);
/// How often facts that cannot be read are tried again: with the pauses between, and up to ten seconds for
/// each try that nobody answers, a minute or so, which is a restart of Prometheus or of the API server.
pub(super) const READ_TRIES: u32 = 5;
/// Pause between two of these tries.
pub(super) const READ_AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// After a restart, people are told again of ends up to this old that may not have reached them.
pub(super) const TELL_AGAIN: SignedDuration = SignedDuration::from_secs(86_400);
/// Revisions remembered per route, those in force and the newest good one always among them.
pub(super) const REVISIONS_KEPT: usize = 20;
/// Charges older than the longest window of any limit are dropped.
pub(super) const CHARGES_KEPT: SignedDuration = SignedDuration::from_secs(7 * 86_400);

/// Seconds as a span, saturating: a policy's century is as good as for ever.
pub(super) fn seconds(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX).min(10 * 365 * 86_400))
}

/// A sender's time as far as we believe it: one whose clock is wrong by years must not make its next
/// signals old for years.
pub(super) fn believed(now: Timestamp, said: Timestamp) -> Timestamp {
    said.min(now.saturating_add(CLOCKS_APART).unwrap_or(now))
}
