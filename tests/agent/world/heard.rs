//! What is said of the fleet.

use jiff::SignedDuration;
use meshmend::model::event::EventKind;
use meshmend::model::signal::{Signal, SignalState};
use meshmend::model::subject::Subject;

use super::fleet::{certificate, deployment, istiod, rule, service};
use super::tape::Tape;
use super::{SOURCES, Turn, World, signal};

impl World {
    /// Something of the fleet falls ill, or is well again, as a source says.
    pub(super) fn hear_of_fleet(&mut self, tape: &mut Tape) -> Turn {
        let (symptom, subject) = match tape.weighted(&[30, 14, 8, 20, 8, 12, 10]) {
            0 => ("data_plane.proxy_hung", self.pod(tape)),
            1 => ("data_plane.proxy_crashing", self.pod(tape)),
            2 => ("data_plane.outdated", deployment()),
            3 => ("traffic.overload", service()),
            4 => ("config.rule_errors", rule()),
            5 => ("security.certificate_expiring", certificate()),
            _ => return self.hear_of_control_plane(tape),
        };
        let is_pod = subject.kind == "Pod";
        let began = SignedDuration::from_secs(*tape.one(&[0, 0, 0, -5, -600]));
        let at = self.now.saturating_add(began).expect("the span is small");
        let mut said = Signal { source: (*tape.one(&SOURCES)).into(), ..signal(symptom, subject, at) };
        if tape.percent(30) {
            said.state = SignalState::Resolved;
        }
        // Who speaks of a pod that went does not know its owner any more.
        if is_pod && (said.state == SignalState::Firing || tape.percent(60)) {
            (said.owner, said.depends_on) = (Some(deployment()), Some(istiod()));
        } else if symptom == "data_plane.outdated" {
            said.depends_on = Some(istiod());
        }
        self.turn(vec![EventKind::Signal { signal: said }])
    }

    fn pod(&self, tape: &mut Tape) -> Subject {
        Subject::pod("shop", &self.ground.fleet.any_pod(tape))
    }

    fn hear_of_control_plane(&mut self, tape: &mut Tape) -> Turn {
        let up = tape.percent(55);
        self.ground.fleet.control_plane(if up { 2 } else { 0 });
        let source = *tape.one(&SOURCES);
        let said =
            self.of_control_plane(source, if up { SignalState::Resolved } else { SignalState::Firing });
        self.turn(vec![said])
    }

    fn of_control_plane(&self, source: &str, state: SignalState) -> EventKind {
        let source = source.to_owned();
        let signal =
            Signal { source: source.into(), state, ..signal("control_plane.down", istiod(), self.now) };
        EventKind::Signal { signal }
    }

    /// The control plane is well again, and everybody who said otherwise says so.
    pub(crate) fn revive(&mut self) -> Turn {
        self.ground.fleet.control_plane(2);
        let events =
            SOURCES.iter().map(|source| self.of_control_plane(source, SignalState::Resolved)).collect();
        self.turn(events)
    }
}
