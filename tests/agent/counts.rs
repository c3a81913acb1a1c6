//! Gates by counts: allocations, bytes and records, which are the same on every machine. Each test prints
//! what it measured (`cargo test -- --nocapture counts`); the bounds lie about a fifth above what was measured
//! when they were set, for what a compiler or a dependency may change.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use allocation_counter::measure;
use jiff::Timestamp;
use meshmend::app::demo::{Options, Show, run};
use meshmend::app::driver::Driver;
use meshmend::app::queue::Input;
use meshmend::clock::Clock;

use meshmend::cluster::{Inventory, PodObject};
use meshmend::engine::{State, apply, decide, effects};
use meshmend::journal::memory::MemoryJournal;
use meshmend::journal::{AppendError, Head, Journal, JournalError, OpenOptions, Reader, SqliteJournal};
use meshmend::model::change::Change;
use meshmend::model::digest::{Digest, canonical};
use meshmend::model::event::{Event, EventKind};
use meshmend::model::facts::Findings;
use meshmend::model::incident::{IncidentId, Phase};
use meshmend::model::plan::Outcome;
use meshmend::model::record::{Draft, Record};
use meshmend::model::series::{Labels, Sample};
use meshmend::model::subject::Subject;
use meshmend::promql::{Pages, Query};
use meshmend::rules::{RuleFiles, Rules};
use meshmend::sim::Pace;

use super::world::{START, signal};

fn print(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("the output is open");
}

/// The shipped rules with so many further playbooks, each for a symptom of its own.
fn rules(playbooks: usize) -> Rules {
    let mut files = RuleFiles::embedded();
    for number in 0..playbooks {
        let text = format!(
            "//! Playbook {number}.\nfn about() {{ #{{ on: [symptom(\"other.s{number}\")] }} }}\n\
             fn plan(facts) {{ refuse(\"no\") }}\n"
        );
        files.playbooks.insert(format!("other-{number}.rhai"), text);
    }
    Rules::load(&files, None).expect("the rules of the test are right").rules
}

fn start() -> Timestamp {
    START.parse().expect("it is a time")
}

fn heard(number: usize) -> Event {
    let subject = Subject::virtual_service("shop", &format!("route-{number:05}"));
    Event {
        at: start(),
        kind: EventKind::Signal { signal: signal("traffic.route_errors", subject, start()) },
    }
}

fn hear(state: &mut State, rules: &Rules, event: &Event) -> Vec<Change> {
    let changes = decide(state, rules, event);
    changes.iter().for_each(|change| apply(state, event.at, change));
    for change in &changes {
        drop(effects(state, change));
    }
    changes
}

/// A state with so many open cases.
fn state(rules: &Rules, cases: usize) -> State {
    let mut state = State::default();
    (0..cases).for_each(|number| drop(hear(&mut state, rules, &heard(number))));
    assert_eq!(state.open_incidents().count(), cases);
    state
}

/// Allocations of deciding, remembering and asking for one event.
fn allocations(state: &mut State, rules: &Rules, event: &Event) -> u64 {
    measure(|| drop(hear(state, rules, event))).count_total
}

// Mutations: `firing` that selects candidates also for a repeated signal; `State::index` without its early
// return and walking through all cases; an `Attached` that carries the whole signal.
#[test]
fn a_repeated_signal_costs_the_same_whatever_the_number_of_playbooks_and_cases() {
    let (few, many) = (rules(10), rules(1_000));
    let mut found = BTreeMap::new();
    for (playbooks, rules) in [(10, &few), (1_000, &many)] {
        for cases in [1, 2_000] {
            let mut state = state(rules, cases);
            let repeated = allocations(&mut state, rules, &heard(cases / 2));
            let opening = allocations(&mut state, rules, &heard(cases + 1));
            print(&format!(
                "{playbooks} playbooks, {cases} cases: {repeated} allocations repeated, {opening} opening"
            ));
            found.insert((playbooks, cases), (repeated, opening));
        }
    }
    let (repeated, opening) = found[&(10, 1)];
    assert!(repeated <= REPEATED, "{repeated} allocations for a repeated signal, {REPEATED} are allowed");
    assert!(opening <= OPENING, "{opening} allocations for a new case, {OPENING} are allowed");
    for ((playbooks, cases), (repeated_there, opening_there)) in &found {
        let numbers = format!("with {playbooks} playbooks and {cases} cases");
        assert_eq!(*repeated_there, repeated, "allocations {numbers}");
        // A new case may split nodes of the maps, a handful at most.
        assert!(opening_there.abs_diff(opening) <= 8, "{opening_there} allocations {numbers}");
    }
}

/// Measured: 1 and 69. Three of the shipped playbooks hear of route errors: each is asked whether it applies,
/// and its name, its needs and its indicator are in the records; that is some fifteen for the third of them.
const REPEATED: u64 = 2;
const OPENING: u64 = 85;

/// The stored size of a record.
fn size(record: &Record) -> usize {
    canonical(&serde_json::to_value(record).expect("a record is JSON")).len()
}

// Mutation: an `Attached` that carries the whole signal a second time.
#[test]
fn the_record_of_a_repeated_signal_is_small() {
    let rules = rules(0);
    let mut state = state(&rules, 1);
    let event = heard(0);
    let changes = hear(&mut state, &rules, &event);
    let mut journal = MemoryJournal::new("w");
    journal.append(&Head::EMPTY, &[Draft { event, changes, blobs: Vec::new() }], None).unwrap();
    let bytes = size(&journal.records()[0]);
    print(&format!("a repeated signal: {bytes} bytes"));
    assert!(bytes <= REPEATED_BYTES, "{bytes} bytes, {REPEATED_BYTES} are allowed");
}

/// Measured: 614.
const REPEATED_BYTES: usize = 740;

// Mutations: a probe that asks twice as often; a record for ticks that change nothing; findings that carry
// the specs.
#[test]
fn a_healed_incident_takes_few_records_and_events_few_allocations() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Some(folder.path().to_owned());
    let summary = run(Options { pace: Pace::Virtual, seed: 7, keep, show: Show::Json }).unwrap();
    let healed = summary.faults.iter().find(|fault| fault.name == "bad_route").unwrap();
    assert_eq!(healed.outcome, "recovered");
    let mut records = Vec::new();
    let reader = Reader::open(&folder.path().join("journal.db")).unwrap();
    reader
        .read(1, &mut |record, _| {
            records.push(record);
            ControlFlow::Continue(())
        })
        .unwrap();

    let mut files = RuleFiles::embedded();
    let enforce = RuleFiles::example("enforce").unwrap().to_owned();
    files.policies.insert("enforce.yaml".to_owned(), enforce);
    let rules = Rules::load(&files, None).unwrap().rules;
    // Scripts are compiled when they are called first, which is not what is counted.
    let mut state = State::default();
    for record in &records {
        allocations(&mut state, &rules, &record.event);
    }
    let mut state = State::default();
    let (mut count, mut bytes, mut total) = (0, 0, 0);
    let mut most: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for record in &records {
        let spent = allocations(&mut state, &rules, &record.event);
        if record.incident.as_deref() == Some(&healed.incident) {
            let (allocated, size) = (spent, size(record));
            (count, bytes, total) = (count + 1, bytes + size, total + allocated);
            let entry = most.entry(record.event.kind.name()).or_default();
            *entry = (entry.0.max(allocated), entry.1.max(size));
        }
    }
    for (kind, (allocated, size)) in &most {
        print(&format!("{kind}: at most {allocated} allocations, {size} bytes"));
    }
    print(&format!("a healed incident: {count} records, {bytes} bytes, {total} allocations"));
    assert!(count <= HEALED_RECORDS, "{count} records, {HEALED_RECORDS} are allowed");
    assert!(bytes <= HEALED_BYTES, "{bytes} bytes, {HEALED_BYTES} are allowed");
    assert!(total <= HEALED_ALLOCATIONS, "{total} allocations, {HEALED_ALLOCATIONS} are allowed");
    let (kind, (worst, _)) = most.iter().max_by_key(|(_, most)| most.0).unwrap();
    assert!(*worst <= EVENT_ALLOCATIONS, "{worst} for {kind}, {EVENT_ALLOCATIONS} are allowed");
}

/// Measured: 16 records with 17,673 bytes, 2,029 allocations in all and 337 for the worst event (the dry run's
/// answer, which the gate judges). Six of the records are probes and their answers. Each event works on a copy
/// of its case, and that holds the facts of all candidates: the third playbook for route errors is seen in
/// every one of them.
const HEALED_RECORDS: usize = 19;
const HEALED_BYTES: usize = 21_000;
const HEALED_ALLOCATIONS: u64 = 2_440;
const EVENT_ALLOCATIONS: u64 = 410;

/// A journal that counts commits and bytes of snapshots.
#[derive(Default)]
struct Counted {
    journal: MemoryJournal,
    seen: Arc<Mutex<Spent>>,
}

/// What a journal was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    commits: usize,
    records: usize,
    snapshots: usize,
    snapshot_bytes: usize,
    /// Size of the last snapshot.
    last: usize,
}

impl Journal for Counted {
    fn id(&self) -> &str {
        self.journal.id()
    }
    fn head(&self) -> Head {
        self.journal.head()
    }
    fn append(&mut self, at: &Head, batch: &[Draft], snapshot: Option<&[u8]>) -> Result<Head, AppendError> {
        let mut seen = self.seen.lock().expect("nobody panicked with it");
        (seen.commits, seen.records) = (seen.commits + 1, seen.records + batch.len());
        if let Some(bytes) = snapshot {
            seen.snapshots += 1;
            seen.snapshot_bytes += bytes.len();
            seen.last = bytes.len();
        }
        drop(seen);
        self.journal.append(at, batch, snapshot)
    }
    fn heartbeat(&mut self, at: Timestamp) -> Result<(), AppendError> {
        self.journal.heartbeat(at)
    }
    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, JournalError> {
        self.journal.blob(digest)
    }
    fn snapshot(&self) -> Result<Option<(u64, Vec<u8>)>, JournalError> {
        self.journal.snapshot()
    }
    fn read(&self, from: u64, visit: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), JournalError> {
        self.journal.read(from, visit)
    }
    fn close(self: Box<Self>, _at: Timestamp) -> Result<(), JournalError> {
        Ok(())
    }
}

/// An alert that maps to nothing: what `notify-only` tells people.
fn unknown(number: usize) -> EventKind {
    let mut signal = signal("custom.alert", Subject::of_namespace("shop"), start());
    signal.source = format!("alertmanager/{number:016x}").into();
    EventKind::Signal { signal }
}

// Mutations: a snapshot every 512 records whatever its size; a commit for each event of a body.
#[tokio::test(start_paused = true)]
async fn a_storm_is_committed_in_one_piece_and_pays_for_few_snapshots() {
    const ALERTS: usize = 6_000;
    let counted = Counted { journal: MemoryJournal::new("w"), ..Counted::default() };
    let seen = Arc::clone(&counted.seen);
    let rules = Arc::new(rules(0));
    let mut driver = Driver::new(Box::new(counted), rules, Clock::starting_at(start())).unwrap();
    let (launches, _kept) = tokio::sync::mpsc::unbounded_channel();
    for body in 0..ALERTS / 100 {
        let events = (0..100).map(|number| unknown(body * 100 + number)).collect();
        let input = Input::Events { events, blobs: Vec::new(), reply: None };
        driver.turn(vec![input], &launches).await.unwrap();
    }
    let seen = *seen.lock().unwrap();
    print(&format!("{ALERTS} alerts in {} bodies: {seen:?}", ALERTS / 100));
    assert_eq!((seen.commits, seen.records), (ALERTS / 100, ALERTS));
    // What a record pays for, and one snapshot that may have been taken just now.
    assert!(seen.snapshot_bytes <= seen.records * 512 + 2 * seen.last, "{seen:?}");
    assert!(seen.snapshots >= 2, "a state that is never written would be folded from its start: {seen:?}");
}

// Mutations: a record that is made of copies; a tree of JSON between a record and its bytes.
#[test]
fn a_record_is_written_with_few_allocations() {
    let rules = rules(0);
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions { id: Some("w".to_owned()), key_file: None };
    let mut journal = SqliteJournal::open(&folder.path().join("journal.db"), &options).unwrap();
    let mut state = State::default();
    let mut draft = |number: usize| {
        let event = Event { at: start(), kind: unknown(number) };
        let changes = hear(&mut state, &rules, &event);
        Draft { event, changes, blobs: Vec::new() }
    };
    let batch: Vec<Draft> = (0..100).map(&mut draft).collect();
    let more: Vec<Draft> = (100..200).map(&mut draft).collect();
    let head = journal.append(&Head::EMPTY, &batch, None).unwrap();
    let spent = measure(|| assert!(journal.append(&head, &more, None).is_ok())).count_total;
    print(&format!("100 records in one commit: {spent} allocations"));
    assert!(spent <= APPENDED, "{spent} allocations for 100 records, {APPENDED} are allowed");
}

/// Measured: 3,820 for records that hold the plan as well, about a third of what it took with a tree in between.
const APPENDED: u64 = 4_500;

// Mutations: looking through all cases when one ends; a copy of the labels for every change.
#[test]
fn an_alert_that_is_told_costs_few_allocations_however_many_there_were() {
    let rules = rules(0);
    let mut state = State::default();
    let mut tell = |number: usize| {
        let begin = Event { at: start(), kind: unknown(number) };
        let mut spent = 0;
        let incident = IncidentId::new("", u64::try_from(number).unwrap() + 1);
        spent += allocations(&mut state, &rules, &begin);
        let findings = Box::new(Findings::default());
        let found = EventKind::Inspected { incident: incident.clone(), inspection: 1, findings };
        spent += allocations(&mut state, &rules, &Event { at: start(), kind: found });
        let outcome = Outcome::Done { detail: "delivered".to_owned() };
        let told = EventKind::Notified { incident: incident.clone(), step: Some(0), outcome };
        spent += allocations(&mut state, &rules, &Event { at: start(), kind: told });
        assert_eq!(state.incidents[&incident].phase, Phase::Escalated);
        spent
    };
    // The first one compiles the script.
    tell(0);
    let first = (1..100).map(&mut tell).max().unwrap();
    let late = (100..3_000).map(&mut tell).skip(2_800).max().unwrap();
    print(&format!("an alert from signal to outcome: {first} allocations among the first, {late} later"));
    assert!(first.max(late) <= TOLD, "{first} and {late} allocations, {TOLD} are allowed");
    assert_eq!(state.incidents.len(), 500, "ended cases leave memory");
}

/// Measured: 115 and 111.
const TOLD: u64 = 140;

/// A pod with a sidecar as the API server recorded it, as one of many: ten to a ReplicaSet, a hundred nodes.
fn pod(number: usize) -> PodObject {
    let mut pod: serde_json::Value =
        serde_json::from_str(include_str!("../recorded/pod-classic-sidecar.json")).expect("it was recorded");
    let workload = format!("client-{:05}-74867dcd64", number / 10);
    pod["metadata"]["name"] = format!("{workload}-{number:05}").into();
    pod["metadata"]["namespace"] = format!("team-{:03}", number / 1_000).into();
    pod["metadata"]["uid"] = format!("66865dc4-3922-4115-b0af-{number:012}").into();
    pod["metadata"]["labels"]["app"] = workload.clone().into();
    pod["metadata"]["ownerReferences"][0]["name"] = workload.into();
    pod["spec"]["nodeName"] = format!("node-{:03}", number % 100).into();
    pod["status"]["podIP"] = format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255).into();
    for status in pod["status"]["containerStatuses"].as_array_mut().expect("it is a list") {
        status["containerID"] = format!("containerd://{number:064}").into();
    }
    serde_json::from_value(pod).expect("it is a pod")
}

// Mutations: keeping a pod's labels, its node or its image once for each pod; keeping the whole object.
#[test]
fn a_hundred_thousand_pods_are_watched_within_their_bytes() {
    let objects: Vec<PodObject> = (0..COUNTED).map(pod).collect();
    let mut inventory = Inventory::default();
    let kept = measure(|| objects.iter().for_each(|object| drop(inventory.keep_pod(object))));
    let each = kept.bytes_current / i64::try_from(COUNTED).unwrap();
    print(&format!("a pod with its sidecar: {each} bytes"));
    assert!(each <= POD_BYTES, "{each} bytes a pod, {POD_BYTES} are allowed");
    assert!(each * 100_000 <= 150 << 20, "100,000 pods take {} MiB", (each * 100_000) >> 20);
    // Seeing them again leaves nothing behind.
    let again = measure(|| objects.iter().for_each(|object| drop(inventory.keep_pod(object))));
    assert!(again.bytes_current.abs() < 4_096, "{} bytes more", again.bytes_current);
}

const COUNTED: usize = 5_000;
/// Measured: 624. At most 1,536 are wanted.
const POD_BYTES: i64 = 750;

// Mutations: labels kept as texts for each series; a time beside each value; columns that double when they grow;
// points that are never thinned out.
#[test]
fn an_hour_of_two_hundred_proxies_is_kept_within_its_bytes() {
    const PROXIES: usize = 5;
    let label = |name: &str, value: String| (name.to_owned(), value);
    let series = |proxy: usize, number: usize| Sample {
        name: "istio_request_duration_milliseconds_bucket".to_owned(),
        labels: Labels::from([
            label("pod", format!("cart-v1-74867dcd64-{proxy:05}")),
            label("namespace", "shop".to_owned()),
            label("reporter", "source".to_owned()),
            label("destination_service", format!("service-{:02}.shop.svc.cluster.local", number / 20)),
            label("destination_workload", format!("service-{:02}-v1", number / 20)),
            label("source_workload", "cart-v1".to_owned()),
            label("source_workload_namespace", "shop".to_owned()),
            label("response_code", "200".to_owned()),
            label("response_flags", "-".to_owned()),
            label("le", (number % 20).to_string()),
        ]),
        value: 0.0,
    };
    let mut scraped: Vec<Vec<Sample>> =
        (0..PROXIES).map(|proxy| (0..300).map(|number| series(proxy, number)).collect()).collect();
    let query = Query::parse("sum(rate(istio_request_duration_milliseconds_bucket[1h]))").unwrap();
    let mut kept = None;
    let spent = measure(|| {
        let mut pages = Pages::new(std::slice::from_ref(&query), 3_600.0, 80);
        for round in 0..240_u32 {
            for (proxy, page) in scraped.iter_mut().enumerate() {
                page.iter_mut().for_each(|sample| sample.value += 1.0);
                let name = format!("shop/cart-{proxy}");
                pages.take(&name, f64::from(round) * 15.0, page).expect("it is newer");
            }
        }
        kept = Some(pages);
    });
    let all = spent.bytes_current * 200 / i64::try_from(PROXIES).unwrap();
    print(&format!("200 proxies with 300 series for an hour: {} MiB", all >> 20));
    assert!(all < 60 << 20, "{} MiB", all >> 20);
    let found = query.at(kept.as_ref().unwrap(), 239.0 * 15.0).unwrap();
    let expected = 300.0 * 5.0 / 15.0;
    assert!((found[0].1 - expected).abs() < expected * 0.02, "{found:?}, {expected} a second");
}
