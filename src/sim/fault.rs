//! What can go wrong on purpose.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::control::{Push, hash, number, text};
use super::kinds::key;
use super::store::{Store, second};
use super::{Sim, State, world};
use crate::model::subject::Subject;

/// Something that goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A VirtualService sends most requests to a build that answers 5xx.
    BadRoute,
    /// The proxy of one pod accepts and does not answer any more.
    HungProxy,
    /// A service is called three times as often as usual, for eight minutes: more than it carries.
    Overload,
    /// A certificate was not renewed in time, and has little life left.
    ExpiringCertificate,
    /// The proxy of one pod rejects its newest configuration, and works on with the one before.
    RejectedConfiguration,
    /// No replica of istiod gets ready.
    ControlPlaneDown,
    /// A proxy hangs, and hangs again after each restart. While it lasts, no other act helps either: a
    /// route's errors stay after a rollback, limits turn nobody away.
    NotHelping,
}

/// A fault that was injected.
#[derive(Clone, Debug)]
pub struct Injected {
    /// What it made ill.
    pub subject: Subject,
    /// When.
    pub at: Timestamp,
}

/// The service that is called too often, how much more often, and for how long. Twice its capacity and
/// more; shorter than a shed lasts, so that its end finds the load normal.
const RUSH: (&str, f64, i64) = ("catalog", 3.0, 480);
/// The certificate that is not renewed: its renewal is overdue by a fifth of its life, a tenth is left.
const LIFE_LEFT: f64 = 0.1;

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::BadRoute,
        Self::HungProxy,
        Self::Overload,
        Self::ExpiringCertificate,
        Self::RejectedConfiguration,
        Self::ControlPlaneDown,
        Self::NotHelping,
    ];

    /// The name as the demo reports it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRoute => "bad_route",
            Self::HungProxy => "hung_proxy",
            Self::Overload => "overload",
            Self::ExpiringCertificate => "expiring_certificate",
            Self::RejectedConfiguration => "rejected_configuration",
            Self::ControlPlaneDown => "control_plane_down",
            Self::NotHelping => "not_helping",
        }
    }

    /// The fault of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }
}

fn certificate() -> super::store::Key {
    key("certificates", "istio-system", "gateway-tls")
}

impl Sim {
    /// Lets something go wrong.
    pub fn inject(&self, fault: Fault) -> Injected {
        let now = self.clock.now();
        let subject = self.look(|state| match fault {
            Fault::BadRoute => bad_route(state, now),
            Fault::HungProxy => hang(state, now),
            Fault::Overload => {
                let (service, factor, lasts) = RUSH;
                let host = format!("{service}.shop.svc.cluster.local");
                state.control.faults.rush = Some((host, factor, now.as_second() + lasts));
                Subject::new("", "Service", "shop", service)
            }
            Fault::ExpiringCertificate => neglect(state, now),
            Fault::RejectedConfiguration => reject(state, now),
            Fault::ControlPlaneDown => {
                state.control.faults.istiod_down = true;
                state.control.wake(now.as_second() + 1);
                Subject::new("apps", "Deployment", "istio-system", "istiod")
            }
            Fault::NotHelping => {
                state.control.faults.stubborn = true;
                hang(state, now)
            }
        });
        Injected { subject, at: now }
    }

    /// From now on no act helps, until [`Fault::NotHelping`] is lifted. Nothing is made ill by it.
    pub fn let_nothing_help(&self) {
        self.look(|state| state.control.faults.stubborn = true);
    }

    /// Takes away what keeps a fault going; what it broke stays broken, but proxies that hang answer again.
    pub fn lift(&self, fault: Fault) {
        let now = self.clock.now();
        self.look(|state| {
            let faults = &mut state.control.faults;
            match fault {
                Fault::Overload => faults.rush = None,
                Fault::ControlPlaneDown => faults.istiod_down = false,
                Fault::NotHelping => (faults.stubborn, faults.stubborn_route) = (false, false),
                Fault::ExpiringCertificate => faults.forgotten.clear(),
                Fault::HungProxy => {
                    let pods = state.control.pods.values_mut();
                    pods.filter_map(|pod| pod.proxy.as_mut()).for_each(|proxy| proxy.hung = None);
                }
                Fault::BadRoute | Fault::RejectedConfiguration => {}
            }
            state.control.wake(now.as_second() + 1);
        });
    }

    /// How well it is what a fault makes ill, between 0 and 1 (well), for display: the share of requests
    /// answered well over the last three seconds, of proxies that answer, of the certificate's life that is
    /// left, of istiod's replicas that are ready.
    #[must_use]
    pub fn health(&self, fault: Fault) -> f64 {
        let now = self.clock.now().as_second();
        match fault {
            Fault::BadRoute => 1.0 - self.error_rate("cart.shop.svc.cluster.local", 3),
            Fault::Overload => self.look(|state| {
                let late = |code: u16, flags: &str| code >= 500 && flags != "UO";
                let host = format!("{}.shop.svc.cluster.local", RUSH.0);
                let bad = state.mesh.increase(&host, 3, late);
                let shed = state.mesh.increase(&host, 3, |_, flags| flags == "UO");
                // Of the requests that were let in.
                match bad.zip(shed) {
                    Some(((all, bad), (_, shed))) if all - shed > 0.0 => 1.0 - bad / (all - shed),
                    Some(_) | None => 1.0,
                }
            }),
            Fault::HungProxy | Fault::NotHelping | Fault::RejectedConfiguration => self.look(|state| {
                let well = |proxy: &super::control::Proxy| proxy.answers() && !proxy.rejected;
                let proxies = state.control.pods.values().filter_map(|pod| pod.proxy.as_ref());
                share(proxies.map(well))
            }),
            Fault::ExpiringCertificate => self.look(|state| left(&state.store, now)),
            Fault::ControlPlaneDown => self.look(|state| {
                let istiod = state
                    .control
                    .pods
                    .iter()
                    .filter(|((ns, name), _)| ns == "istio-system" && name.starts_with("istiod-"));
                share(istiod.map(|(_, pod)| pod.ready.0))
            }),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers of pods")]
fn share(each: impl Iterator<Item = bool>) -> f64 {
    let (mut all, mut well) = (0_usize, 0_usize);
    for is in each {
        all += 1;
        well += usize::from(is);
    }
    if all == 0 { 0.0 } else { well as f64 / all as f64 }
}

fn bad_route(state: &mut State, now: Timestamp) -> Subject {
    state.control.faults.stubborn_route = state.control.faults.stubborn;
    let patch = json!({ "spec": { "http": [world::split("cart", &[("v1", 40), ("v3", 60)])] } });
    state.store.edit(&key("virtualservices", "shop", "cart"), &patch, "kubectl-edit", now);
    Subject::virtual_service("shop", "cart")
}

/// A pod that answers, chosen by the seed among those of apps with more than one.
fn chosen(state: &State, word: &str) -> Option<(String, String)> {
    let serves = |name: &str| name.starts_with("web-") || name.starts_with("catalog-v1-");
    let pods = state.control.pods.iter().filter(|((_, name), pod)| {
        serves(name)
            && pod.stops.is_none()
            && pod.proxy_runs()
            && pod.proxy.is_some_and(|proxy| proxy.answers())
    });
    let pods: Vec<_> = pods.map(|(place, _)| place.clone()).collect();
    let at = hash(state.control.seed, word).checked_rem(u64::try_from(pods.len()).ok()?)?;
    pods.get(usize::try_from(at).ok()?).cloned()
}

/// Makes a proxy ill; the rest of the mesh gets news at once, so that one sees it does not follow.
fn afflict(
    state: &mut State,
    word: &str,
    now: Timestamp,
    ill: impl FnOnce(&mut super::control::Proxy),
) -> Subject {
    let Some((namespace, name)) = chosen(state, word) else {
        // Nothing answers any more: then nothing can be made worse, and the namespace is what is ill.
        return Subject::of_namespace("shop");
    };
    let control = &mut state.control;
    if let Some(proxy) =
        control.pods.get_mut(&(namespace.clone(), name.clone())).and_then(|pod| pod.proxy.as_mut())
    {
        ill(proxy);
    }
    control.push = Push { number: control.push.number + 1, at: now.as_second() };
    let push = control.push;
    for proxy in control.pods.values_mut().filter_map(|pod| pod.proxy.as_mut()) {
        if proxy.answers() && !proxy.rejected {
            proxy.acked = push;
        }
    }
    control.wake(now.as_second() + 1);
    Subject::new("", "Pod", &namespace, &name)
}

fn hang(state: &mut State, now: Timestamp) -> Subject {
    afflict(state, "hung", now, |proxy| proxy.hung = Some(now.as_second()))
}

fn reject(state: &mut State, now: Timestamp) -> Subject {
    afflict(state, "rejected", now, |proxy| proxy.rejected = true)
}

fn neglect(state: &mut State, now: Timestamp) -> Subject {
    let key = certificate();
    let life = SignedDuration::from_hours(2_160);
    let past = |share: f64| {
        let span = SignedDuration::try_from_secs_f64(life.as_secs_f64() * share).unwrap_or_default();
        second(now.checked_sub(span).unwrap_or(now))
    };
    let used = 1.0 - LIFE_LEFT;
    let left = SignedDuration::try_from_secs_f64(life.as_secs_f64() * LIFE_LEFT).unwrap_or_default();
    let dates = json!({
        "notBefore": past(used), "notAfter": second(now.checked_add(left).unwrap_or(now)),
        // Renewal was due at two thirds of the life.
        "renewalTime": past(used - 2.0 / 3.0),
    });
    state.control.faults.forgotten.push(key.clone());
    state.store.report(&key, &dates, "cert-manager-certificates-readiness", now);
    Subject::new("cert-manager.io", "Certificate", &key.1, &key.2)
}

#[expect(clippy::cast_precision_loss, reason = "seconds of some months")]
fn left(store: &Store, now: i64) -> f64 {
    let certificate = store.get(&certificate());
    let time = |pointer: &str| -> Option<i64> {
        let at: Timestamp = text(certificate?, pointer).parse().ok()?;
        Some(at.as_second())
    };
    let known = certificate.and_then(|certificate| number(certificate, "/status/revision"));
    let (from, to) = (time("/status/notBefore"), time("/status/notAfter"));
    match (known, from, to) {
        (Some(_), Some(from), Some(to)) if to > from => {
            ((to - now) as f64 / (to - from) as f64).clamp(0.0, 1.0)
        }
        (Some(_) | None, _, _) => 0.0,
    }
}
