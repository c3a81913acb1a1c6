//! What a world is made of: services with their versions, who calls whom and how much, where requests come
//! in, and how the mesh around them is built. Plain data, drawn before the run; nothing here changes later.

use crate::draw::{Draw, Seed};

/// A world's services and what surrounds them.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    pub(crate) services: Vec<Service>,
    /// Workloads that only call: the ingress gateway first, then jobs and small clients.
    pub(crate) clients: Vec<Client>,
    pub(crate) nodes: u32,
    pub(crate) istiod: Istiod,
}

/// A service with its workloads.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) versions: Vec<Version>,
    /// Time of one request when nothing waits: its median, in milliseconds.
    pub(crate) median_ms: f64,
    /// 99th percentile over the median.
    pub(crate) tail: f64,
    /// Requests per second that one pod answers at most.
    pub(crate) carries: f64,
    /// What is left of that beyond saturation.
    pub(crate) saturated: f64,
    /// Requests that wait in one pod before the next is turned away by it.
    pub(crate) queue: f64,
    /// What one request of it asks of others.
    pub(crate) calls: Vec<Call>,
    pub(crate) protocol: Protocol,
    pub(crate) route: Option<RouteOf>,
    pub(crate) rule: RuleOf,
    pub(crate) budget: Option<u32>,
    pub(crate) owner: Owner,
    /// Whether its proxies are native sidecars.
    pub(crate) native: bool,
    /// Seconds from the start of a pod until it is ready, and until it is as fast as the others.
    pub(crate) start_s: f64,
    pub(crate) warm_s: f64,
    /// Share of its capacity that a cold pod has.
    pub(crate) cold: f64,
}

/// A version: one Deployment, one subset.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) replicas: u32,
    /// Share of requests it fails when nothing is wrong.
    pub(crate) fails: f64,
    /// Times the service's time of a request.
    pub(crate) slow: f64,
}

/// A call to another service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) to: usize,
    /// Calls per request.
    pub(crate) times: f64,
    /// Share of failed calls that make the caller's own request fail.
    pub(crate) needed: f64,
}

/// How a port is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    /// Failures are HTTP 200 with a status of gRPC.
    Grpc,
    /// As gRPC, and streams stay open for minutes.
    Streams,
}

/// The VirtualService of a service.
#[derive(Clone, Debug)]
pub(crate) struct RouteOf {
    /// Weights by version, in their order.
    pub(crate) weights: Vec<u32>,
    pub(crate) timeout_s: Option<f64>,
    pub(crate) retries: Option<u32>,
}

/// The DestinationRule of a service.
#[derive(Clone, Debug)]
pub(crate) struct RuleOf {
    /// `http2MaxRequests` and `http1MaxPendingRequests`.
    pub(crate) limit: Option<u32>,
    /// `consecutive5xxErrors` and `maxEjectionPercent`.
    pub(crate) outlier: Option<(u32, u32)>,
}

/// Who keeps a service's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// People with kubectl.
    Nobody,
    /// Argo CD, which heals drift at once.
    ArgoSelfHeal,
    /// Argo CD, which heals drift at its polls: seconds.
    Argo(u32),
    /// Flux: seconds of its interval.
    Flux(u32),
}

/// A workload that only calls.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) replicas: u32,
    /// Whom it calls: service, and requests per second of all its pods.
    pub(crate) demand: Vec<(usize, f64)>,
    pub(crate) kind: ClientKind,
    /// After so many seconds it gives a request up.
    pub(crate) gives_up_s: Option<f64>,
    /// Attempts of the application itself for each request that failed.
    pub(crate) tries: u32,
    /// Share of its callers that wait for an answer before they ask again.
    pub(crate) closed: f64,
}

/// What a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientKind {
    /// The ingress gateway: its errors have no host where no cluster is.
    Gateway,
    /// With a sidecar.
    Sidecar,
    /// Without one: nothing is counted at the source.
    Plain,
}

/// The control plane.
#[derive(Clone, Debug)]
pub(crate) struct Istiod {
    pub(crate) replicas: u32,
    /// Delay of a push to one proxy: median and 90th percentile, in seconds.
    pub(crate) push_s: (f64, f64),
}

impl Topology {
    /// All pods that have a proxy.
    pub(crate) fn proxies(&self) -> u32 {
        let servers: u32 =
            self.services.iter().flat_map(|service| &service.versions).map(|v| v.replicas).sum();
        let clients = self.clients.iter().filter(|client| client.kind != ClientKind::Plain);
        servers + clients.map(|client| client.replicas).sum::<u32>()
    }

    /// Requests per second at each service when nothing is wrong, the calls of others included. Calls go only
    /// to services behind the caller.
    pub(crate) fn load(&self) -> Vec<f64> {
        let mut load = vec![0.0; self.services.len()];
        for (service, rate) in self.clients.iter().flat_map(|client| &client.demand) {
            load[*service] += rate;
        }
        for (index, service) in self.services.iter().enumerate() {
            for call in &service.calls {
                load[call.to] += load[index] * call.times;
            }
        }
        load
    }

    /// Draws one of an ordinary size.
    pub(crate) fn drawn(seed: Seed) -> Self {
        let place = seed.of("world", "topology");
        // Most meshes of the test are small, because a thousand of them are run.
        let count = if place.named("large").chance(0.1) {
            place.named("services").log_uniform(13.0, 40.0)
        } else {
            place.named("services").log_uniform(5.0, 13.0)
        };
        let count = whole(count);
        let depths = layers(seed, count);
        let mut services: Vec<Service> = (0..count).map(|index| service(seed, index, &depths)).collect();
        call_everyone(seed, &mut services, &depths);
        let clients = clients(seed, &services, &depths);
        let nodes = u32::try_from(place.named("nodes").whole(3, 12)).unwrap_or(3);
        let istiod = Istiod {
            replicas: place.named("istiod").pick(&[(1, 0.5), (2, 0.3), (3, 0.2)]),
            push_s: if place.named("hard pushes").chance(0.1) { (1.5, 6.0) } else { (0.2, 1.5) },
        };
        let load =
            Self { services: services.clone(), clients: clients.clone(), nodes, istiod: istiod.clone() }
                .load();
        for (index, (service, load)) in services.iter_mut().zip(load).enumerate() {
            fit(seed.of("capacity", "fit").at(slot(index)), service, load);
        }
        Self { services, clients, nodes, istiod }
    }
}

/// A number of things.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are small and positive")]
pub(crate) fn whole(number: f64) -> usize {
    number.floor().max(0.0) as usize
}

pub(crate) fn slot(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(0)
}

/// At which depth of the call tree each service stands: those at 0 are called from outside.
fn layers(seed: Seed, count: usize) -> Vec<usize> {
    let depth = whole(seed.of("world", "depth").between(3.0, 6.0)).min(count);
    let front = (count / 5).max(1);
    let behind = (depth - 1).max(1);
    (0..count)
        .map(|index| if index < front { 0 } else { 1 + (index - front) * behind / (count - front).max(1) })
        .collect()
}

/// A service's name: short, and told apart from all others.
const NAMES: [&str; 40] = [
    "web", "shop", "api", "mobile", "cart", "catalog", "search", "orders", "payment", "users", "offers",
    "stock", "price", "ship", "mail", "media", "rates", "tax", "fraud", "ledger", "audit", "geo", "tags",
    "notes", "plans", "teams", "files", "queue", "store", "cache", "index", "graph", "model", "feed", "push",
    "hooks", "logs", "keys", "vault", "archive",
];

fn service(seed: Seed, index: usize, depths: &[usize]) -> Service {
    let place = seed.of("service", "shape").at(slot(index));
    let (depth, count) = (depths[index], depths.len());
    let later: Vec<usize> = (index + 1..count).filter(|other| depths[*other] > depth).collect();
    let versions = place.named("versions").pick(&[(1_usize, 0.35), (2, 0.5), (3, 0.15)]);
    let median_ms = place.named("median").log_normal(8.0, 60.0).clamp(1.0, 400.0);
    Service {
        namespace: NAMESPACES[index % NAMESPACES.len()].to_owned(),
        name: NAMES[index % NAMES.len()].to_owned(),
        versions: (0..versions)
            .map(|number| version(place.named("version").at(slot(number)), number))
            .collect(),
        median_ms,
        tail: place.named("tail").between(3.0, 10.0),
        carries: 0.0,
        saturated: place.named("saturated").between(0.3, 0.8),
        queue: place.named("queue").log_uniform(8.0, 256.0),
        calls: calls(place.named("calls"), &later),
        protocol: place.named("protocol").pick(&[
            (Protocol::Http, 0.7),
            (Protocol::Grpc, 0.2),
            (Protocol::Streams, 0.1),
        ]),
        route: place.named("route").chance(0.85).then(|| route(place.named("route of"), versions)),
        rule: RuleOf {
            limit: place.named("limited").chance(0.15).then_some(1_000),
            outlier: place
                .named("outlier")
                .chance(0.2)
                .then(|| (5, place.named("ejected").pick(&[(10, 0.6), (50, 0.2), (100, 0.2)]))),
        },
        budget: place.named("budget").chance(0.4).then_some(1),
        owner: place.named("owner").pick(&[
            (Owner::Nobody, 0.6),
            (Owner::ArgoSelfHeal, 0.16),
            (Owner::Argo(150), 0.12),
            (Owner::Flux(600), 0.12),
        ]),
        native: place.named("native").chance(0.4),
        start_s: place.named("start").log_normal(8.0, 45.0).clamp(3.0, 90.0),
        warm_s: place.named("warm").between(30.0, 180.0),
        cold: place.named("cold").between(0.1, 0.5),
    }
}

const NAMESPACES: [&str; 4] = ["shop", "shop-eu", "core", "data"];

fn version(place: Draw, number: usize) -> Version {
    Version {
        name: format!("v{}", number + 1),
        replicas: u32::try_from(whole(place.named("replicas").pick(&[
            (1.0, 0.2),
            (2.0, 0.35),
            (3.0, 0.25),
            (6.0, 0.2),
        ])))
        .unwrap_or(1),
        fails: place.named("fails").log_uniform(0.000_01, 0.003),
        slow: place.named("slow").noise(0.1),
    }
}

fn calls(place: Draw, later: &[usize]) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut wanted = 0;
    while wanted < 4 && place.named("more").at(wanted).chance(0.6) {
        wanted += 1;
    }
    for number in 0..wanted {
        let place = place.at(number);
        // A hub stands at the end of the list and is called by many.
        let hub = place.named("hub").chance(0.3);
        let to = if hub { later.last() } else { place.named("to").one_of(later) };
        let Some(&to) = to else { break };
        if calls.iter().all(|call| call.to != to) {
            let needed = place.named("needed").pick(&[(1.0, 0.6), (0.5, 0.2), (0.0, 0.2)]);
            calls.push(Call { to, times: place.named("times").between(0.3, 1.5), needed });
        }
    }
    calls
}

/// Nobody is in a mesh whom nobody calls: who would be left out gets one caller.
fn call_everyone(seed: Seed, services: &mut [Service], depths: &[usize]) {
    for to in 0..services.len() {
        let called = services.iter().any(|service| service.calls.iter().any(|call| call.to == to));
        let earlier: Vec<usize> = (0..to).filter(|index| depths[*index] < depths[to]).collect();
        let place = seed.of("service", "called").at(slot(to));
        if let Some(&by) = place.named("by").one_of(&earlier).filter(|_| !called) {
            let needed = place.named("needed").pick(&[(1.0, 0.6), (0.5, 0.2), (0.0, 0.2)]);
            services[by].calls.push(Call { to, times: place.named("times").log_uniform(0.05, 1.0), needed });
        }
    }
}

fn route(place: Draw, versions: usize) -> RouteOf {
    let first = place.named("first").pick(&[(90, 0.6), (50, 0.2), (100, 0.2)]);
    let weights = match versions {
        1 => vec![100],
        2 => vec![first, 100 - first],
        _ => vec![first, 100 - first, 0],
    };
    RouteOf {
        weights,
        timeout_s: place
            .named("timeout")
            .chance(0.3)
            .then(|| place.named("seconds").pick(&[(2.0, 1.0), (5.0, 2.0), (10.0, 1.0)])),
        retries: place.named("retries").chance(0.2).then_some(3),
    }
}

/// The gateway and whoever else calls.
fn clients(seed: Seed, services: &[Service], depths: &[usize]) -> Vec<Client> {
    let place = seed.of("world", "clients");
    let front: Vec<usize> = (0..services.len()).filter(|index| depths[*index] == 0).collect();
    let rate = place.named("gateway").log_uniform(20.0, 600.0);
    let shares = place.named("front").dirichlet(front.len(), 1.0);
    let demand =
        front.iter().zip(shares).map(|(service, share)| (*service, (rate * share).max(2.0))).collect();
    let gateway = Client {
        namespace: "istio-system".to_owned(),
        name: "istio-ingressgateway".to_owned(),
        replicas: place.named("replicas").pick(&[(1, 0.2), (2, 0.5), (3, 0.3)]),
        demand,
        kind: ClientKind::Gateway,
        gives_up_s: place.named("gives up").pick(&[
            (Some(5.0), 0.2),
            (Some(10.0), 0.3),
            (Some(30.0), 0.3),
            (None, 0.2),
        ]),
        tries: place.named("tries").pick(&[(1, 0.7), (2, 0.2), (3, 0.1)]),
        closed: place.named("closed").between(0.1, 0.5),
    };
    let mut all = vec![gateway];
    let small = place.named("small").pick(&[(0_u64, 0.3), (2, 0.4), (5, 0.2), (20, 0.1)]);
    for number in 0..small {
        let place = place.named("client").at(number);
        let Some(&service) = place.named("calls").one_of(&(0..services.len()).collect::<Vec<_>>()) else {
            break;
        };
        all.push(Client {
            namespace: "jobs".to_owned(),
            name: format!("job-{number}"),
            replicas: 1,
            demand: vec![(service, place.named("rate").log_uniform(0.1, 3.0))],
            kind: if place.named("plain").chance(0.2) { ClientKind::Plain } else { ClientKind::Sidecar },
            gives_up_s: Some(10.0),
            tries: 1,
            closed: 0.7,
        });
    }
    all
}

/// Gives a service the pods and the capacity that its load needs at a utilisation between 20 and 70 %.
fn fit(place: Draw, service: &mut Service, load: f64) {
    let weights: Vec<f64> = match &service.route {
        Some(route) => route.weights.iter().map(|weight| f64::from(*weight)).collect(),
        None => service.versions.iter().map(|version| f64::from(version.replicas)).collect(),
    };
    let all: f64 = weights.iter().sum();
    let busiest = service
        .versions
        .iter()
        .zip(&weights)
        .map(|(version, weight)| load * weight / all / f64::from(version.replicas))
        .fold(0.0, f64::max);
    let used = place.named("used").between(0.2, 0.7);
    service.carries = (busiest / used).max(5.0);
}
