//! meshmend keeps a service mesh healthy without waking anybody, and never makes it worse.
//!
//! This is the architecture: how an event flows, what each layer may use, what is true because something
//! is absent, how restart and replay work, and in which order to read the code. What it does for its users
//! stands in `README.md`.
//!
//! # Flow
//!
//! ```text
//!  world --> sources --Reading--> health --Signal--+
//!               |                                  v
//!               +-----------Event-------------> driver --records--> journal (one commit per batch)
//!                                                |  ^
//!                                   Event, Rules |  | changes, effects
//!                                                v  |
//!  engine: correlate -> select -> (Inspect) -> plan -> gate -> (Approve) -> (Execute) -> (Probe) -> verify
//!                                                |  ^
//!                                         Effect |  | Event
//!                                                v  |
//!                                             effectors --> cluster, mesh, people
//! ```
//!
//! Three functions hold all decisions, and nothing else touches the state:
//!
//! - `engine::decide` looks at state, rules and one event, and answers with changes.
//! - `engine::apply` folds one change into the state; it is the only place where state changes.
//! - `engine::effects` says what a committed change asks of the world.
//!
//! `app::driver` is the loop around them and the sole owner of the state. A turn takes a batch of events,
//! decides each, writes one record for each, commits once, and only then answers those who wait, mints
//! permits and starts effects. It never waits for an effect: results come back as events, on a queue that
//! sources cannot fill. Time is data: the state says when it wants the next tick.
//!
//! An incident goes `open -> inspecting -> planned -> (awaiting_approval) -> executing -> soaking ->
//! probing -> (holding)` and ends `resolved`, `escalated`, `suppressed`, `expired` or `gone`. What holds it back leaves
//! it in `planned`, with the reasons. Every phase has a deadline (`engine::deadlines`), so none gets stuck.
//!
//! # Layers
//!
//! | layer | holds | may use of this crate |
//! | --- | --- | --- |
//! | `model` | nouns: plain data with serde and words for people | nothing |
//! | `promql` | PromQL over points that we hold: parsed, evaluated, kept; purely | `model` |
//! | `yaml` | documents with line numbers, every mistake at once | `model` |
//! | `rules` | texts to checked rules: playbooks (Rhai), policies, indicators, alert map | `model`, `promql`, `yaml` |
//! | `health` | readings to levels, edges to signals, proof of revisions, the roll-up; purely | `model`, `rules` |
//! | `engine` | the verbs; purely | `model`, `rules` |
//! | `clock` | the only reader of time | `model` |
//! | `config` | the configuration file, as written and as meant | `model`, `yaml` |
//! | `cluster` | kube client, slim views, watched stores | `model` |
//! | `sources` | the world to readings: Prometheus, proxies, istiod | `model`, `cluster`, `clock` |
//! | `effectors` | wishes to the world: inspect, rehearse, execute, notify | as `sources`, and the one name `Permit` |
//! | `journal` | append, read, chain, verify | `model`, `clock` |
//! | `sim` | the simulated cluster | `model`, `promql`, `clock` |
//! | `api` | webhooks, questions, votes, probes, metrics | `model`, `journal`, `config` |
//! | `app`, `cli` | the composition root, and the command line | everything; nobody uses them |
//!
//! `model`, `promql`, `yaml`, `rules`, `health` and `engine` may not even name tokio, kube, tracing, files,
//! threads, the environment or a clock; `engine` names no hash map either, because its order differs from run
//! to run. `tests/tidy.rs` keeps all of this.
//!
//! # Invariants, by absence
//!
//! - Nothing in `engine` reads a clock, draws a random number, does I/O or logs, and `decide` cannot fail.
//!   The time is that of the event; what does not work out is a `model::reason::Reason`.
//! - No write without a permit. `engine::gate::Permit` has private fields and is neither copied nor read
//!   from anywhere; the driver mints it from a committed change, never while folding. It names plan, step,
//!   direction, target and an end, and no write begins after that end.
//! - Nothing leaves before its batch is durable: no answer, no effect. After a failed commit the state is
//!   read again from the journal and the batch is decided anew; after a failed flush the process ends,
//!   because nobody knows what is stored.
//! - No absence acts. A fact or an indicator that cannot be read is a refusal before the script runs; an
//!   unknown reading neither starts nor ends a signal; an empty selector is an error; stores that a watch
//!   has not filled are not believed; a resolved signal starts nothing.
//! - Nothing holds back what takes harm back: storms, breakers, pauses, windows and modes are asked for by the
//!   gate, and an undo does not come to the gate. What an operator aborted never goes forward again.
//! - No choice is left to execution. A plan names targets, uids and hashes; the effector compares them with
//!   the object as it is. A difference is the outcome `stale`: one more look, then people decide.
//! - No script reaches the outside. Actions are constructors of a closed enum, and a script that runs away
//!   meets a counted limit, so that a replay meets the same one.
//! - No readings in the journal. The health board is not remembered; what it says arrives as signals, probes
//!   and proofs, and those are recorded.
//!
//! # Restart and replay
//!
//! A record is one event with the changes decided on it. A restart loads the newest snapshot that a
//! checkpoint vouches for and folds the recorded changes after it: no rules are needed, and a new version
//! never decides old events again. Then the run records its rules and its start. The start takes up what was
//! under way: an incident found executing is not executed again but read from the cluster, after the last
//! permit on it has run out.
//!
//! `meshmend replay` decides every recorded event again, with the rules the journal names by hash or with
//! others, compares, and then folds the recorded changes, so that one difference stays one.
//!
//! # Code map, in reading order
//!
//! 1. `model::event`, `model::change`, `model::effect`: what is heard, decided and asked for.
//!    `model::incident`, `model::plan`, `model::reason`: the nouns in between.
//! 2. `engine` with `correlate`, `select`, `plan`, `refusals`, `gate`, `act`, `verify`, in the order of an
//!    incident's life; then `apply`, `effects`, `tick`, `stops` and `abort`, and `history` for what is known to
//!    be good.
//! 3. `app::driver`, the loop; `app::outbox`, where effects run; `app::board`, where health is measured;
//!    `app::intake`, where names become objects of our own cache.
//! 4. `rules::playbook` and `rules::script`, the closed world of scripts; `rules::policy` and
//!    `rules::ruling`, what all policies together say.
//! 5. `effectors::execute`, the one place that writes; `cluster::patch`, what it writes;
//!    `cluster::route` and `cluster::rule`, which route and which subset are in force.
//! 6. `journal::sqlite` and `journal::verify`; `app::offline` for replay and explain.
//! 7. `app::board::survey` and `health::overview`: everything read once and rolled up, for `meshmend health`.
//!    `api` and `cli` for those who call; `app::run` puts it all together.
//! 8. `promql`: the expressions of the catalogue over points of our own.
//! 9. `sim` and `app::demo`: the same agent on a cluster in memory. `tests/agent` runs on it.

pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod effectors;
pub mod engine;
pub mod health;
pub mod journal;
pub mod model;
pub mod promql;
pub mod rules;
pub mod sim;
pub mod sources;
pub mod yaml;
