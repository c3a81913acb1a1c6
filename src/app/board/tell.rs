//! Telling: signals of our own, each with whose its subject is, to the driver.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use crate::app::intake;
use crate::app::queue::Input;
use crate::cluster::Cluster;
use crate::model::event::EventKind;
use crate::model::incident::IncidentKey;
use crate::model::signal::{Signal, SignalState};
use crate::model::subject::Subject;

/// The driver is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// Whose the pods that fire were when they began. A pod that vanished can be looked up no more, and its case
/// is kept under its owner.
#[derive(Debug, Default)]
pub(super) struct Owners(Mutex<BTreeMap<Subject, Whose>>);

#[derive(Clone, Debug, Default)]
struct Whose {
    owner: Option<Subject>,
    depends_on: Option<Subject>,
    gone: Option<Timestamp>,
}

/// By then every source has told that a vanished pod is ill no more, the slowest round included.
const FORGOTTEN: SignedDuration = SignedDuration::from_mins(10);

impl Owners {
    /// Takes up what was known before a restart; the subject of the case.
    pub(super) fn resume(&self, key: &IncidentKey) -> Subject {
        let Some(member) = &key.member else { return key.owner.clone() };
        let pod = Subject::pod(&key.owner.namespace, member);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let whose = Whose { owner: Some(key.owner.clone()), ..Whose::default() };
        known.insert(pod.clone(), whose);
        pod
    }

    /// The signal with what only we may say of it.
    fn fill(&self, signal: Signal, cluster: &Cluster) -> Signal {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cluster.pod(&signal.subject).is_none()
            && let Some(whose) = known.get(&signal.subject).cloned()
        {
            return Signal { owner: whose.owner, depends_on: whose.depends_on, ..signal };
        }
        let signal = intake::resolved(signal, cluster);
        if signal.state == SignalState::Firing && signal.subject.kind == "Pod" {
            let (owner, depends_on) = (signal.owner.clone(), signal.depends_on.clone());
            known.insert(signal.subject.clone(), Whose { owner, depends_on, gone: None });
        }
        signal
    }

    /// Forgets the pods that have been gone for a while.
    pub(super) fn retain(&self, there: impl Fn(&Subject) -> bool, at: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|pod, whose| {
            whose.gone = if there(pod) { None } else { Some(whose.gone.unwrap_or(at)) };
            whose.gone.is_none_or(|gone| at.duration_since(gone) < FORGOTTEN)
        });
    }

    /// Tells the driver.
    pub(super) async fn tell(
        &self,
        signals: impl IntoIterator<Item = Signal>,
        cluster: &Cluster,
        out: &mpsc::Sender<Input>,
    ) -> Result<(), Closed> {
        for signal in signals {
            let signal = self.fill(signal, cluster);
            out.send(Input::event(EventKind::Signal { signal })).await.map_err(|_| Closed)?;
        }
        Ok(())
    }
}
