//! What we did and must take back is taken back: with a webhook that is down, an agent that was killed, a journal
//! that is lost, policies that changed, people who edit, and a disk that is full.

mod ground;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use meshmend::model::incident::Phase;
use meshmend::model::mark::RESTORE;
use meshmend::model::signal::{Severity, Signal, SignalState};
use meshmend::model::subject::Subject;
use meshmend::model::verdict::Mode;
use serde_json::json;

use crate::healing::story;
use ground::{Agent, Cramped, Disk, Ground};

const ENFORCE: &str = "{ mode: enforce, attempts: { max: 9, refill: 1h } }";
const OBSERVE: &str = "{ mode: observe }";

/// After writes are possible again: the longest pause, and the time for it.
const SOON: u64 = 300 + 10;

async fn told(agent: &Agent, words: &str) -> bool {
    agent.reasons().await.iter().any(|reason| reason.contains(words))
}

// Mutations: `owed::again` that gives up after three tries; a pause that grows beyond five minutes; `tell` that
// never tells.
#[test]
fn a_webhook_that_is_down_when_a_shed_expires_only_delays_its_end() {
    story(|| async {
        let ground = Ground::new();
        let agent = ground.agent(ENFORCE, None, "t1").await;
        let before = ground.specs().await;
        let expires = ground.shed(&agent).await;
        ground.webhook(false);
        ground.after(expires, 600).await;
        assert_eq!(ground.marks().await.len(), 1, "nobody could write");
        assert!(told(&agent, "not taken back yet").await, "{:?}", agent.reasons().await);
        let sentences = agent.reasons().await.iter().filter(|r| r.contains("not taken back yet")).count();
        assert_eq!(sentences, 1, "told once in ten minutes");
        ground.webhook(true);
        ground.until_gone(SOON).await;
        assert_eq!(ground.specs().await, before, "byte for byte");
        ground.wait(5).await;
        let ended = agent.incidents().await;
        assert!(ended.iter().all(|case| case.phase.is_end()), "{ended:#?}");
    });
}

// Mutations: `resume` that reads an undo back and escalates; an incident whose tries are not in the journal.
#[test]
fn a_restart_meanwhile_changes_nothing() {
    story(|| async {
        let ground = Ground::new();
        let agent = ground.agent(ENFORCE, None, "t1").await;
        let before = ground.specs().await;
        let expires = ground.shed(&agent).await;
        ground.webhook(false);
        ground.after(expires, 90).await;
        agent.killed().await;
        ground.wait(120).await;
        let agent = ground.agent(ENFORCE, None, "t1").await;
        ground.after(expires, 600).await;
        assert_eq!(ground.marks().await.len(), 1);
        ground.webhook(true);
        ground.until_gone(SOON).await;
        assert_eq!(ground.specs().await, before);
        drop(agent);
    });
}

// Mutations: `orphan::due_at` without the two minutes, or with twenty; marks that only the watch's changes tell of and
// not its first list; `says_no` that always says no.
#[test]
fn what_a_lost_journal_knew_is_taken_back_by_the_mark() {
    story(|| async {
        let ground = Ground::new();
        let agent = ground.agent(ENFORCE, None, "t1").await;
        let before = ground.specs().await;
        let expires = ground.shed(&agent).await;
        agent.killed().await;
        let agent = ground.agent(ENFORCE, None, "t2").await;
        ground.after(expires, 115).await;
        assert_eq!(ground.marks().await.len(), 1, "it is left to who left it for two minutes");
        ground.until_gone(20).await;
        assert_eq!(ground.specs().await, before);
        ground.wait(5).await;
        let case = agent.incidents().await.into_iter().next_back().expect("a case of its own");
        assert_eq!((case.symptom.as_str(), case.phase), ("limits.orphaned", Phase::Resolved), "{case:#?}");
    });
}

// Mutations: `forbidden` that asks the policies about our own journal; a gate before an undo.
#[test]
fn policies_that_changed_meanwhile_do_not_keep_our_own_act() {
    for cap in [None, Some(Mode::Observe)] {
        story(move || async move {
            let ground = Ground::new();
            let agent = ground.agent(ENFORCE, None, "t1").await;
            let before = ground.specs().await;
            let expires = ground.shed(&agent).await;
            agent.killed().await;
            let agent = ground.agent(OBSERVE, cap, "t1").await;
            ground.after(expires, 15).await;
            assert!(ground.marks().await.is_empty(), "{cap:?}");
            assert_eq!(ground.specs().await, before);
            drop(agent);
        });
    }
}

// Mutations: `forbidden` that forgets the mode, or the cap of the command line.
#[test]
fn a_lost_journal_and_an_agent_that_only_observes_are_for_people() {
    for (policy, cap) in [(OBSERVE, None), (ENFORCE, Some(Mode::Observe))] {
        story(move || async move {
            let ground = Ground::new();
            let agent = ground.agent(ENFORCE, None, "t1").await;
            let expires = ground.shed(&agent).await;
            agent.killed().await;
            let shed = ground.specs().await;
            let agent = ground.agent(policy, cap, "t2").await;
            ground.after(expires, 1_200).await;
            assert_eq!(ground.specs().await, shed, "{cap:?}: nothing is written");
            assert!(told(&agent, "nothing is written").await, "{:?}", agent.reasons().await);
            // Somebody removes it by hand.
            let name = ground.rules().await.into_iter().find(|rule| rule.metadata.annotations.is_some());
            let name = name.and_then(|rule| rule.metadata.name).expect("it bears a mark");
            ground.edit(&name, &json!({ "metadata": { "annotations": { RESTORE: null } } })).await;
            ground.wait(2).await;
            let incidents = agent.incidents().await;
            assert!(
                incidents
                    .iter()
                    .filter(|case| case.symptom.as_str() == "limits.orphaned")
                    .all(|c| c.phase.is_end())
            );
        });
    }
}

// Mutations: `undoing` without the hash; an edit that ends the obligation.
#[test]
fn what_somebody_edited_meanwhile_is_left_alone_until_it_is_as_we_left_it() {
    for lost in [false, true] {
        story(move || async move {
            let ground = Ground::new();
            let agent = ground.agent(ENFORCE, None, "t1").await;
            let before = ground.specs().await;
            let expires = ground.shed(&agent).await;
            ground.edit("catalog", &json!({ "spec": { "exportTo": ["."] } })).await;
            let agent = if lost {
                agent.killed().await;
                ground.agent(ENFORCE, None, "t2").await
            } else {
                agent
            };
            let edited = ground.specs().await;
            ground.after(expires, 900).await;
            assert_eq!(ground.specs().await, edited, "lost {lost}: somebody's work is not touched");
            assert!(told(&agent, "somebody changed the object").await, "{:?}", agent.reasons().await);
            ground.edit("catalog", &json!({ "spec": { "exportTo": null } })).await;
            ground.until_gone(SOON).await;
            assert_eq!(ground.specs().await, before);
        });
    }
}

// Mutation: deleting on the word of the mark alone.
#[test]
fn a_rule_that_somebody_copied_with_our_mark_on_it_is_not_deleted() {
    story(|| async {
        let ground = Ground::new();
        let spec = json!({ "host": "elsewhere.shop.svc.cluster.local" });
        let mark = json!({
            "incident": "gone-00001", "expires": "2026-01-01T00:01:00Z", "created": true,
            "spec": meshmend::model::digest::Digest::of_json(&spec),
        });
        ground
            .create(&json!({
                "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
                "metadata": { "namespace": "shop", "name": "copied", "annotations": { RESTORE: mark.to_string() } },
                "spec": spec,
            }))
            .await;
        let agent = ground.agent(ENFORCE, None, "t1").await;
        ground.wait(900).await;
        assert!(ground.specs().await.iter().any(|(name, _)| name == "copied"));
        assert!(told(&agent, "did not create it").await, "{:?}", agent.reasons().await);
    });
}

fn rumour(ground: &Ground, number: usize) -> Signal {
    Signal {
        symptom: "custom.rumour".parse().expect("a symptom"),
        subject: Subject::service("shop", if number.is_multiple_of(2) { "cart" } else { "web" }),
        state: SignalState::Firing,
        severity: Severity::Warning,
        value: None,
        labels: BTreeMap::new().into(),
        at: ground.clock.now(),
        source: String::new().into(),
        alert: None,
        owner: None,
        depends_on: None,
    }
}

// Mutations: a driver that does not give up its reserve; one that takes signals into it; one that does not look for
// room again.
#[test]
fn a_full_disk_keeps_nothing_in_force() {
    story(|| async {
        let ground = Ground::new();
        let disk = Arc::new(Mutex::new(Disk::Free));
        let journal = Cramped { journal: ground.journal("t1"), disk: Arc::clone(&disk) };
        let agent = ground.agent_on(ENFORCE, None, Box::new(journal)).await;
        let before = ground.specs().await;
        let expires = ground.shed(&agent).await;
        ground.before(expires, 30).await;
        let set = |to| *disk.lock().expect("nobody panics with it") = to;
        set(Disk::Full);
        for number in 0..100 {
            assert!(agent.hears(rumour(&ground, number)).await.is_err(), "nothing new is taken");
        }
        ground.until_gone(60).await;
        assert_eq!(ground.specs().await, before);
        ground.wait(5).await;
        let case = agent.incidents().await.into_iter().next().expect("the case of the shed");
        assert!(case.phase.is_end(), "{case:#?}");
        set(Disk::Free);
        ground.wait(70).await;
        assert!(agent.hears(rumour(&ground, 0)).await.is_ok(), "there is room again");
    });
}
