//! A cluster whose objects, traffic and answers of pods come from outside: the simulation keeps its API
//! server, its controllers and its kubelets, and a [`World`] brings the rest, second by second.

mod ground;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::control::Control;
use super::mesh::Mesh;
use super::store::Store;
use super::{Life, SETTLED_S, Sim, State, world};
use crate::clock::Clock;

pub use ground::{Ground, PodLife, ProxyLife, Supply};

/// What happens in a hosted cluster. All of it has to follow from the seconds and from what stands in the
/// cluster, so that the same run can be had again.
pub trait World: Send {
    /// Makes the objects of the start; controllers and kubelets then get a minute to follow, an hour ago.
    fn begin(&mut self, ground: &mut Ground<'_>);

    /// One second passes; controllers and kubelets have had their part of it.
    fn second(&mut self, ground: &mut Ground<'_>, second: i64);

    /// What listens in a pod answers: the outer `None` leaves the answer to the simulation, the inner one is
    /// a port that accepts and never answers, and status 0 one where nothing listens.
    fn answer(&mut self, ground: &Ground<'_>, asked: &Asked<'_>) -> Option<Option<(u16, String)>>;
}

/// A request to a port of a pod.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Name of the pod.
    pub pod: &'a str,
    /// Port, as in `15000`.
    pub port: u16,
    /// `GET`, `POST`.
    pub method: &'a str,
    /// Path with its query.
    pub path: &'a str,
}

/// A cluster passes one second at a time.
const STEP: Duration = Duration::from_secs(1);

impl Sim {
    /// A cluster in which a world happens. Nothing passes by itself: [`Sim::pass`] or [`Sim::drive`] lets it.
    #[must_use]
    pub fn hosting(seed: u64, clock: Clock, mut world: Box<dyn World>) -> Arc<Self> {
        let now = clock.now();
        let born = now.checked_sub(world::AGE).unwrap_or(now);
        let mut store = Store::default();
        let mut control = Control::new(seed, born);
        world.begin(&mut Ground::new(&mut store, &mut control, born));
        for second in 1..=SETTLED_S {
            control.step(&mut store, born.as_second() + second);
        }
        let mesh = Mesh::new(seed, now);
        Self::of(clock, State { store, control, mesh, life: Life::Hosted(world) })
    }

    /// Lets every second until now pass.
    pub fn pass(&self) {
        self.look(|_| ());
    }

    /// Lets second after second pass, for as long as it is polled.
    pub async fn drive(self: Arc<Self>) {
        loop {
            tokio::time::sleep(STEP).await;
            self.pass();
        }
    }

    /// Looks at the cluster as its world does, beside the seconds: for judges and tests.
    pub fn on_ground<T>(&self, look: impl FnOnce(&mut Ground<'_>) -> T) -> T {
        let now = self.clock.now();
        self.look(|state| look(&mut Ground::new(&mut state.store, &mut state.control, now)))
    }
}

impl State {
    /// One second of a hosted cluster.
    pub(super) fn host(&mut self, second: i64) {
        let Self { store, control, mesh, life } = self;
        let Life::Hosted(world) = life else { return };
        control.step(store, second);
        mesh.pass_over(second);
        let at = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        world.second(&mut Ground::new(store, control, at), second);
    }

    /// What the world has a pod answer, where it wants to.
    pub(super) fn hosted_answer(
        &mut self,
        asked: &Asked<'_>,
        at: Timestamp,
    ) -> Option<Option<(u16, String)>> {
        let Self { store, control, life, .. } = self;
        let Life::Hosted(world) = life else { return None };
        world.answer(&Ground::new(store, control, at), asked)
    }
}
