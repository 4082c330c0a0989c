//! What Prometheus is told ([`accelnet_api::metrics`]), from what is in memory: nothing is asked of store or nodes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use accelnet_api::metrics::{CONTENT_TYPE, Histogram, Kept, PATH, Text, table};
use accelnet_model::{FaultSeverity, Performance, Problem};
use axum::{
    Router,
    body::Bytes,
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::time::Instant;

use crate::{
    Changed, Pending, Server, admission,
    apart::apart,
    reports::{Known, Seen},
    state::Wish,
    view,
};

/// Looks something up for Prometheus.
pub type Measured<T> = Arc<dyn Fn() -> Pending<'static, T> + Send + Sync>;

/// Classes of status: `1xx` to `5xx`.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// What becomes of a change, in the words of its metric.
const OUTCOMES: [&str; 4] = ["made", "unchanged", "refused", "failed"];

/// What counts itself, since the server's start.
#[derive(Default)]
pub struct Measures {
    kept: Kept,
    /// What is told beside the server's own: of a standalone host, its agent's.
    beside: OnceLock<Measured<Text>>,
    changes: [AtomicU64; OUTCOMES.len()],
    requests: Mutex<BTreeMap<Route, Answers>>,
}

/// Method and route's template. There are as many as the server has routes, whatever is asked.
type Route = (&'static str, String);

/// Answers at one route.
#[derive(Debug, Default)]
struct Answers {
    took: Histogram,
    by_class: [u64; CLASSES.len()],
}

impl Measures {
    fn requests(&self) -> MutexGuard<'_, BTreeMap<Route, Answers>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change was decided on.
    pub(crate) fn note_change<T>(&self, decided: &Result<Changed<T>, Vec<Problem>>) {
        let outcome = match decided {
            Ok(changed) if changed.changed => 0,
            Ok(_) => 1,
            Err(problems) if problems.iter().all(|of| of.code.http_status() < 500) => 2,
            Err(_) => 3,
        };
        self.changes[outcome].fetch_add(1, Ordering::Relaxed);
    }

    fn note_answer(&self, route: Route, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        let mut requests = self.requests();
        let answers = requests.entry(route).or_default();
        answers.took.note(took);
        answers.by_class[class.min(CLASSES.len() - 1)] += 1;
    }

    fn write(&self, text: &mut Text) {
        for (outcome, count) in OUTCOMES.iter().zip(&self.changes) {
            text.put(&table::CHANGES, &[outcome], count.load(Ordering::Relaxed));
        }
        for ((method, route), answers) in &*self.requests() {
            for (class, count) in CLASSES.iter().zip(answers.by_class) {
                let known = (count > 0).then_some(count);
                text.put_known(&table::API_REQUESTS, &[method, route, class], known);
            }
            let labels = &[*method, route.as_str()];
            text.put_histogram(&table::API_REQUEST_DURATION, labels, &answers.took);
        }
    }
}

/// Between routes and door: counts answers.
pub async fn counted(State(server): State<Server>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map_or("none", MatchedPath::as_str).to_owned();
    let route = (method(request.method()), path);
    let begun = Instant::now();
    let answer = next.run(request).await;
    let measures = &server.shared.measures;
    measures.note_answer(route, answer.status(), begun.elapsed());
    answer
}

/// Anybody can make methods up.
fn method(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let found = known.into_iter().find(|known| method == *known);
    found.unwrap_or("other")
}

/// The text as an answer.
pub fn answer(text: Arc<[u8]>) -> Response {
    let kind = [(header::CONTENT_TYPE, CONTENT_TYPE)];
    (kind, Bytes::from_owner(text)).into_response()
}

/// The page alone, for a door that has nothing else, or beside what else is there.
pub fn page(look: Measured<Arc<[u8]>>) -> Router {
    Router::new().route(PATH, get(async move || answer(look().await)))
}

/// What a server tells that stands by.
pub fn standing_by() -> Arc<[u8]> {
    let mut text = Text::default();
    text.put(&table::SERVER_ACTIVE, &[], false);
    text.written().into_bytes().into()
}

impl Server {
    /// Something else is told beside what the server tells; once.
    pub fn also_measure(&self, beside: Measured<Text>) {
        // A second one would be a slip of the wiring, of which there is one.
        let first = self.shared.measures.beside.set(beside);
        debug_assert!(first.is_ok());
    }

    /// What Prometheus is told now, or a moment ago.
    pub async fn metrics(&self) -> Arc<[u8]> {
        let measures = &self.shared.measures;
        let look = async {
            let mut text = apart(|| self.measure());
            if let Some(beside) = measures.beside.get() {
                text.append(beside().await);
            }
            text
        };
        measures.kept.bytes(look).await
    }

    /// The page for a door of its own, where nobody is asked who he is.
    pub fn metrics_page(&self) -> Router {
        let server = self.clone();
        page(Arc::new(move || {
            let server = server.clone();
            Box::pin(async move { server.metrics().await })
        }))
    }

    fn measure(&self) -> Text {
        let mut text = Text::default();
        text.put(
            &table::BUILD_INFO,
            &[env!("CARGO_PKG_VERSION"), "server"],
            true,
        );
        text.put(&table::SERVER_ACTIVE, &[], true);
        let shared = &self.shared;
        if let Some(mut wish) = shared.told.newest() {
            wish.room = Arc::clone(&shared.room);
            let seen = self.seen();
            nodes(&mut text, &wish, &seen);
            vms(&mut text, &wish, &seen);
            room(&mut text, &wish, &seen);
            faults(&mut text, &seen);
        }
        if let Some(membership) = &shared.membership {
            let connected = membership.hub.connected();
            text.put(&table::AGENTS_CONNECTED, &[], connected);
        }
        text.put(&table::VM_SWITCHES, &[], shared.health.switches());
        let slowest = shared.state.took().as_secs_f64();
        text.put(&table::STORE_SLOWEST, &[], slowest);
        text.put(&table::UNAUTHENTICATED, &[], shared.attempts.total());
        text.put(&table::WATCHES, &[], shared.boards.watches());
        shared.measures.write(&mut text);
        text
    }
}

fn nodes(text: &mut Text, wish: &Wish, seen: &Seen) {
    let (mut current, mut silent, mut awaited, mut converged) = (0u64, 0u64, 0u64, 0u64);
    for known in seen.iter() {
        match (known.silent.is_some(), known.down()) {
            (false, _) => current += 1,
            (true, true) => silent += 1,
            (true, false) => awaited += 1,
        }
        converged += u64::from(view::node(wish, known).converged);
    }
    for (state, count) in [
        ("current", current),
        ("silent", silent),
        ("awaited", awaited),
    ] {
        text.put(&table::NODES, &[state], count);
    }
    text.put(&table::NODES_CONVERGED, &[], converged);
}

/// VMs that are wanted accelerated on the enabled intent; nothing while none is.
fn vms(text: &mut Text, wish: &Wish, seen: &Seen) {
    let Some(intent) = wish.desired.enabled_intent() else {
        return;
    };
    text.put(&table::ENABLED_INFO, &[intent.name.as_str()], true);
    let (mut wanted, mut accelerated) = (BTreeMap::new(), BTreeMap::new());
    for level in Performance::ALL {
        wanted.insert(level, 0u64);
        accelerated.insert(level, 0u64);
    }
    for (_, level) in wish.levels_on(&intent.name) {
        *wanted.entry(level).or_default() += 1;
    }
    let there = seen.iter().filter_map(Known::current);
    for vm in there.flat_map(|status| &status.vms) {
        let level = wish.enabled_for(vm.facts.uuid).and_then(|on| on.level);
        if let Some(level) = level.filter(|_| view::accelerated(vm, intent)) {
            *accelerated.entry(level).or_default() += 1;
        }
    }
    for (metric, counts) in [
        (&table::VMS_WANTED, wanted),
        (&table::VMS_ACCELERATED, accelerated),
    ] {
        for (level, count) in counts {
            text.put(metric, &[word(level)], count);
        }
    }
    text.put(&table::VMS_PARKED, &[], view::parked_count(wish));
}

fn word(level: Performance) -> &'static str {
    match level {
        Performance::Low => "low",
        Performance::Medium => "medium",
        Performance::High => "high",
    }
}

/// Room and reserve; nothing where the rules cannot say.
fn room(text: &mut Text, wish: &Wish, seen: &Seen) {
    let Ok((figures, nodes_down)) = admission::room_now(wish, seen) else {
        return;
    };
    text.put(&table::CAPACITY_VFS, &[], figures.vfs);
    text.put(&table::CAPACITY_VFS_USED, &[], figures.vfs_used);
    text.put(&table::CAPACITY_QUEUE_PAIRS, &[], figures.queue_pairs);
    let used = figures.queue_pairs_used;
    text.put(&table::CAPACITY_QUEUE_PAIRS_USED, &[], used);
    for (metric, of) in [
        (&table::CAPACITY_FREE, figures.free),
        (&table::CAPACITY_HELD_BACK, figures.held_back),
        (&table::CAPACITY_FITS, figures.fits_more),
    ] {
        for (level, count) in [("low", of.low), ("medium", of.medium), ("high", of.high)] {
            text.put(metric, &[level], count);
        }
    }
    text.put(&table::RESERVE_NODES, &[], nodes_down);
    let holds = admission::shortage_now(wish, seen).is_none();
    text.put(&table::RESERVE_HOLDS, &[], holds);
}

fn faults(text: &mut Text, seen: &Seen) {
    let mut counts: BTreeMap<(&str, FaultSeverity, &str), u64> = BTreeMap::new();
    for fault in &*seen.faults {
        let state = match (&fault.muted, &fault.acknowledged) {
            (Some(_), _) => "muted",
            (None, Some(_)) => "acknowledged",
            (None, None) => "open",
        };
        *counts
            .entry((fault.code.as_str(), fault.severity, state))
            .or_default() += 1;
    }
    for ((code, severity, state), count) in counts {
        text.put(&table::FAULTS, &[code, severity.as_str(), state], count);
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::Code;

    use super::*;

    fn has(text: &Text, line: &str) -> bool {
        text.written().lines().any(|one| one == line)
    }

    #[test]
    fn changes_are_told_apart_by_what_became_of_them() {
        let measures = Measures::default();
        let changed = |changed| Changed {
            wish: Wish::nothing(),
            changed,
            plan: Vec::new(),
            about: (),
        };
        let refused = |codes: &[Code]| codes.iter().map(|code| Problem::new(*code, ".")).collect();
        measures.note_change(&Ok(changed(true)));
        measures.note_change(&Ok(changed(false)));
        measures.note_change::<()>(&Err(refused(&[Code::NoFreeVf])));
        measures.note_change::<()>(&Err(refused(&[Code::NoFreeVf, Code::StoreFailed])));
        let mut text = Text::default();
        measures.write(&mut text);
        for outcome in OUTCOMES {
            let line = format!("accelnet_changes_total{{outcome=\"{outcome}\"}} 1");
            assert!(has(&text, &line), "{}", text.written());
        }
    }

    #[test]
    fn answers_are_counted_by_route_and_made_up_methods_are_one() {
        let measures = Measures::default();
        for (verb, status) in [("GET", 200), ("GET", 304), ("BREW", 405), ("SING", 405)] {
            let verb = Method::from_bytes(verb.as_bytes()).unwrap();
            let route = (method(&verb), "/x/{y}".to_owned());
            let status = StatusCode::from_u16(status).unwrap();
            measures.note_answer(route, status, Duration::from_millis(3));
        }
        let mut text = Text::default();
        measures.write(&mut text);
        let name = "accelnet_api_requests_total";
        let of = |labels: &str| has(&text, &format!("{name}{{{labels}}} 1"));
        assert!(of("method=\"GET\",route=\"/x/{y}\",status=\"2xx\""));
        assert!(of("method=\"GET\",route=\"/x/{y}\",status=\"3xx\""));
        let line = format!("{name}{{method=\"other\",route=\"/x/{{y}}\",status=\"4xx\"}} 2");
        assert!(has(&text, &line), "{}", text.written());
        assert_eq!(measures.requests().len(), 2);
    }
}
