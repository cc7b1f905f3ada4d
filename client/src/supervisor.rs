//! The task behind a client: makes connections, and finds out who leads what.
//!
//! It owns the tasks of the connections, the attempts to make more, and the questions for routes;
//! what they have brought about is in `State`. Whoever puts something there that no connection can
//! take calls for its attention.
//!
//! While there is no connection, callers go on as before within the gates' limits; their requests
//! wait, and time out as they would with one. When the attempts are used up, everything that waits
//! fails, and the next call starts a new series: a client is not lost because its broker was away
//! for a night.
//!
//! Invariant: however the task ends, `Shared::finish` is called, so that nobody waits for ever.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use sampan_protocol::{Applied, ErrorCode, Name, Reply, Request, RouteReply, RouteRequest};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::address::Address;
use crate::connection::{Connection, End};
use crate::dial::{Dialed, dial};
use crate::error::Error;
use crate::routes::CATALOG;
use crate::shared::Shared;
use crate::state::{Phase, State};
use crate::timing::sweep_interval;

/// Longest time until a client that closes without a connection notices that it has.
const HOUSEKEEPING_INTERVAL_MAX: Duration = Duration::from_millis(100);
/// How long one server may take to say who leads; then another is asked.
const ROUTE_WAIT_MAX: Duration = Duration::from_millis(500);

/// What a task of the supervisor's has brought.
enum Event {
    /// A connection is over, and everything on it is settled.
    Ended,
    Dialed(usize, Result<Dialed, Error>),
    Routed(Question, Result<RouteReply, Error>),
}

/// A question for a route.
struct Question {
    queue: Arc<str>,
    /// Who was asked.
    slot: usize,
}

/// What is to be done now, and when to look again.
struct Plan {
    dials: Vec<(usize, Address)>,
    questions: Vec<Question>,
    wake_at: Option<Instant>,
    /// Whether something waits here that no connection looks after.
    keeps_house: bool,
    is_finished: bool,
}

/// Runs until the client is closed.
pub(crate) async fn run(shared: Arc<Shared>, slot: usize, first: Dialed) {
    let _finish = FinishOnDrop(Arc::clone(&shared));
    let mut supervisor = Supervisor {
        shared,
        tasks: JoinSet::new(),
        housekeeping_at: None,
    };
    supervisor.open(slot, first);
    while supervisor.step().await {}
}

struct FinishOnDrop(Arc<Shared>);

impl Drop for FinishOnDrop {
    fn drop(&mut self) {
        self.0.finish();
    }
}

struct Supervisor {
    shared: Arc<Shared>,
    /// At most one for each connection, two for each slot, and one for each query.
    tasks: JoinSet<Event>,
    /// When to look for what has waited too long. Kept from one step to the next: whoever sends
    /// meanwhile makes a step, and must not put it off.
    housekeeping_at: Option<Instant>,
}

impl Supervisor {
    /// Does what is due and waits for the next thing. False when there is nothing left to do.
    async fn step(&mut self) -> bool {
        let now = Instant::now();
        if self.housekeeping_at.take_if(|at| *at <= now).is_some() {
            self.shared.fail_expired(now);
        }
        let plan = self.shared.change(|state| plan(state, now));
        self.housekeeping_at = plan.keeps_house.then(|| {
            let interval = sweep_interval(&self.shared.config).min(HOUSEKEEPING_INTERVAL_MAX);
            self.housekeeping_at.unwrap_or(now + interval)
        });
        if plan.is_finished {
            return false;
        }
        for (slot, address) in plan.dials {
            let shared = Arc::clone(&self.shared);
            let attempt = async move { Event::Dialed(slot, dial(&shared.config, &address).await) };
            self.tasks.spawn(attempt);
        }
        for question in plan.questions {
            self.ask(question);
        }
        let wake_at = [plan.wake_at, self.housekeeping_at];
        let wake_at = wake_at.into_iter().flatten().min();
        tokio::select! {
            Some(event) = self.tasks.join_next() => match event {
                Ok(event) => self.on_event(event),
                // A task of ours panicked: callers must not wait for what it had.
                Err(_) => return false,
            },
            () = self.shared.attention.notified() => {}
            () = sleep_until(wake_at.unwrap_or(now)), if wake_at.is_some() => {}
        }
        true
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Ended => {}
            Event::Dialed(slot, Ok(dialed)) => self.open(slot, dialed),
            Event::Dialed(slot, Err(error)) => self.on_dial_failed(slot, &error),
            Event::Routed(question, routed) => {
                let now = Instant::now();
                self.shared
                    .change(|state| on_routed(state, &question, routed, now));
            }
        }
    }

    /// Puts a new connection to work, and asks it where the others are.
    fn open(&mut self, slot: usize, dialed: Dialed) {
        self.shared.change(|state| {
            state.producers.set_clock(dialed.clock);
            state.open_slot(slot);
        });
        let mut connection = Connection::new(Arc::clone(&self.shared), slot, dialed);
        self.tasks.spawn(async move {
            match poll_fn(|cx| connection.poll(cx)).await {
                End::Finished => {
                    connection.shut_down().await;
                    connection.close();
                }
                End::Broken(reason) => connection.settle(&reason),
            }
            Event::Ended
        });
        let queue = Arc::from(CATALOG);
        self.ask(Question { queue, slot });
    }

    fn ask(&mut self, question: Question) {
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let queue = Name::from(&*question.queue);
            let request = Request::Route(RouteRequest { queue });
            let asked = timeout(ROUTE_WAIT_MAX, shared.ask(question.slot, request)).await;
            let routed = match asked {
                Ok(Ok(Reply::Route(route))) => Ok(route),
                Ok(Ok(_)) | Err(_) => Err(Error::TimedOut {
                    applied: Applied::No,
                }),
                Ok(Err(error)) => Err(error),
            };
            Event::Routed(question, routed)
        });
    }

    fn on_dial_failed(&mut self, slot: usize, error: &Error) {
        let config = &self.shared.config;
        let (attempts_max, deadline) = (config.reconnect_attempts_max, config.reconnect_deadline);
        let gives_up = self.shared.change(|state| {
            let now = Instant::now();
            let servers = &mut state.servers;
            let used_up = servers.on_dial_failed(slot, now, attempts_max, deadline);
            let gives_up = !servers.any_live() && (used_up || !error.retry());
            if gives_up {
                servers.give_up();
            }
            gives_up
        });
        if gives_up {
            self.shared
                .fail_waiting(|applied| error.clone().with_applied(applied));
        }
    }
}

fn plan(state: &mut State, now: Instant) -> Plan {
    let any_live = state.servers.any_live();
    let is_finished = match state.phase {
        Phase::Open => false,
        Phase::Closing => !any_live && state.is_unawaited(),
        Phase::Closed => true,
    };
    if state.servers.has_given_up() && state.has_work() {
        state.servers.begin_series(now);
    }
    if !any_live {
        state.wake_retries(now);
    }
    let is_holding = state.is_holding();
    if state.routes.is_asking() && !is_holding && !state.is_repeating() {
        state.routes.end_all();
    }
    let mut questions = Vec::new();
    if any_live {
        for (queue, asks_catalog) in state.routes.take_due(now) {
            let catalog = asks_catalog.then(|| state.catalog_leader()).flatten();
            match catalog.or_else(|| state.servers.next_to_ask()) {
                Some(slot) => questions.push(Question { queue, slot }),
                None => state.routes.ask_again(&queue, now),
            }
        }
    }
    let dials = state.servers.take_dials(now);
    let is_repeating = state.is_repeating();
    let is_ending = state.phase != Phase::Open || is_repeating;
    let ask_at = state.routes.ask_at().filter(|_| any_live);
    let wake_at = [ask_at, state.servers.dial_at()];
    Plan {
        dials,
        questions,
        wake_at: wake_at.into_iter().flatten().min(),
        // A connection looks for what has waited too long only while something is unanswered there;
        // what waits in a line may be waiting for a time.
        keeps_house: is_holding || is_repeating || (!any_live && is_ending),
        is_finished,
    }
}

/// Takes in what a server says of a queue's leader.
fn on_routed(
    state: &mut State,
    question: &Question,
    routed: Result<RouteReply, Error>,
    now: Instant,
) {
    let queue = &*question.queue;
    match routed {
        Ok(route) => on_route(state, question, &route, now),
        Err(error) if error.code() == Some(ErrorCode::QueueNotFound) => {
            // It knows, so it is the one to tell the callers.
            state.servers.set_home(question.slot);
            state.routes.end(queue);
        }
        Err(error) if error.code() == Some(ErrorCode::NotLeader) => {
            state.routes.begin(CATALOG, now);
            state.routes.ask_catalog(queue, now);
        }
        Err(_) => ask_again(state, queue, now),
    }
    state.place_held();
}

fn on_route(state: &mut State, question: &Question, route: &RouteReply, now: Instant) {
    let queue = &*question.queue;
    let (set, term) = (route.set.0, route.term);
    state.servers.learn(&route.nodes);
    let live_count = state.servers.live_slots().count();
    let Some(node) = route.leader else {
        return ask_again(state, queue, now);
    };
    if !state.routes.is_news(queue, set, term, live_count) {
        return ask_again(state, queue, now);
    }
    let leader = state.servers.slot_of(node);
    if state.routes.is_at_a_loss(queue) {
        // Who was asked first knew nobody.
        state.servers.set_home(question.slot);
    }
    if !state.routes.has_query(queue) {
        // Nobody waits for it; whoever needs the leader later connects to it then.
        if let Some(slot) = leader {
            state.routes.learn(queue, set, slot, term);
        }
        return;
    }
    if let Some(slot) = leader.filter(|slot| state.servers.is_live(*slot)) {
        state.routes.learn(queue, set, slot, term);
        state.routes.forget_refusals(set);
        return;
    }
    // Without a way to the leader, somebody who has not refused yet is better than nobody: the
    // address may be one that only other nodes can reach.
    let has_way = leader.is_some_and(|slot| {
        state.routes.await_leader(queue, set, slot, term);
        !state.servers.want(slot)
    });
    let other = state
        .servers
        .live_slots()
        .find(|slot| !state.routes.has_refused(set, *slot));
    match other.filter(|_| !has_way) {
        Some(slot) => state.routes.learn(queue, set, slot, term),
        None => ask_again(state, queue, now),
    }
}

/// A question brought nothing. After many, servers without a connection are asked too: those with
/// one may be cut off from the others.
fn ask_again(state: &mut State, queue: &str, now: Instant) {
    state.routes.ask_again(queue, now);
    if state.routes.is_at_a_loss(queue) {
        state.servers.want_all();
    }
}
