//! From a client's request to the set or the catalog that answers it.
//!
//! Finds the queue in the directory, checks what the sender can be told at once, and hands the
//! request over. Queue rules live in the core: nothing here decides about messages.
//!
//! A queue that the directory does not have may have been made a moment ago elsewhere, so it is
//! said to be missing only after the directory was confirmed to be complete. That, and whatever
//! else needs more than one step, runs beside the connection.

use std::sync::Arc;

use sampan_cluster::{
    CatalogRequest, Directory, Origin, Receive, RedriveAsk, Refused, Route, SetRequest,
};
use sampan_core::{Command, RedriveOrder};
use sampan_protocol::limits::{
    BATCH_COUNT_MAX, QUEUE_LIST_COUNT_MAX, RECEIVE_LEN_DEFAULT, RECEIVE_LEN_MAX,
    RECEIVE_WAIT_MAX_MS, ROUTE_NODE_COUNT_MAX, VISIBILITY_TIMEOUT_MIN_MS,
};
use sampan_protocol::{
    AdminReply, AdminRequest, ErrorCode, Name, QueueList, QueueListPage, Redrive, Reply, Request,
    RouteReply, RouteRequest, SetId, check_queue_name,
};
use tokio::sync::watch;

use super::commands::{check_visibility_timeout, command_of, out_of, peek_request};
use super::outbox::Outbox;
use super::patience::Patience;
use crate::serve::{Shared, admin};

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct Requests {
    outbox: Arc<Outbox>,
    shared: Arc<Shared>,
    changes: watch::Receiver<Arc<Directory>>,
    directory: Arc<Directory>,
    /// The queue that was found last, in `directory`: the next request is often for it, too.
    found: Option<Arc<Route>>,
    patience: Patience,
}

impl Requests {
    pub(super) fn new(outbox: Arc<Outbox>, shared: Arc<Shared>) -> Self {
        let mut changes = shared.node.directory();
        let directory = changes.borrow_and_update().clone();
        Requests {
            outbox,
            shared,
            changes,
            directory,
            found: None,
            patience: Patience::default(),
        }
    }

    /// Hands one request over. Its answer reaches the outbox, in the end.
    pub(super) async fn ask(&mut self, request_id: u64, len: usize, request: Request) {
        if needs_whole_directory(&request) || self.lacks(&request) {
            let requests = self.clone();
            tokio::task::spawn_local(requests.ask_confirmed(request_id, len, request));
            return;
        }
        if let Err(refused) = self.hand_over(request_id, len, request).await {
            self.outbox.refuse(request_id, len, &refused);
        }
    }

    /// The same with a directory that is known to be complete.
    async fn ask_confirmed(mut self, request_id: u64, len: usize, request: Request) {
        let confirmed = match name_of(&request).map_or(Ok(()), check_name) {
            Ok(()) => self.shared.node.confirm_directory().await,
            refused => refused,
        };
        let handed_over = match confirmed {
            Ok(()) => self.hand_over(request_id, len, request).await,
            Err(refused) => Err(refused),
        };
        if let Err(refused) = handed_over {
            self.outbox.refuse(request_id, len, &refused);
        }
    }

    /// Whether the request names a queue that the directory does not have.
    fn lacks(&mut self, request: &Request) -> bool {
        self.look_again();
        let target = match request {
            Request::Redrive(redrive) => Some(&redrive.to).filter(|to| !to.is_empty()),
            _ => None,
        };
        let mut names = name_of(request).into_iter().chain(target);
        names.any(|name| self.look_up(name).is_none())
    }

    fn look_up(&mut self, name: &Name) -> Option<Arc<Route>> {
        let known = self.found.as_ref();
        if known.is_none_or(|route| route.name != name.as_str()) {
            self.found = self.directory.find(name.as_str()).cloned();
        }
        self.found.clone()
    }

    fn look_again(&mut self) {
        // A sender that is gone means that set 0 has stopped: what is known stays as it is.
        if self.changes.has_changed().unwrap_or(false) {
            self.directory = self.changes.borrow_and_update().clone();
            self.found = None;
        }
    }

    async fn hand_over(
        &mut self,
        request_id: u64,
        len: usize,
        request: Request,
    ) -> Result<(), Refused> {
        let origin = Origin {
            client: self.outbox.clone(),
            request_id,
            len,
        };
        match request {
            Request::Send(_)
            | Request::Delete(_)
            | Request::ChangeVisibility(_)
            | Request::QueuePurge { .. }
            | Request::RedriveCancel { .. }
            | Request::QueueRewind(_)
            | Request::Reschedule(_) => {
                let name = name_of(&request).cloned().unwrap_or_default();
                let route = self.find(&name)?;
                let command = command_of(request, route.queue)?;
                self.ask_set(&route, SetRequest::Command { origin, command })
                    .await
            }
            Request::Receive(receive) => {
                let route = self.find(&receive.queue)?;
                let receive = check_receive(&receive, &route)?;
                self.ask_set(&route, SetRequest::Receive { origin, receive })
                    .await
            }
            Request::Peek(peek) => {
                let route = self.find(&peek.queue)?;
                let peek = peek_request(&peek, route.queue);
                self.ask_set(&route, SetRequest::Peek { origin, peek })
                    .await
            }
            Request::Redrive(redrive) => {
                let (route, order) = self.redrive_order(&redrive)?;
                let queue = route.queue;
                let request = match redrive.is_dry_run {
                    true => SetRequest::Redrive {
                        origin,
                        ask: RedriveAsk::Count { queue, order },
                    },
                    false => SetRequest::Command {
                        origin,
                        command: Command::RedriveBegin { queue, order },
                    },
                };
                self.ask_set(&route, request).await
            }
            Request::RedriveStatus { name } => {
                let route = self.find(&name)?;
                let ask = RedriveAsk::Status { queue: route.queue };
                self.ask_set(&route, SetRequest::Redrive { origin, ask })
                    .await
            }
            Request::QueueShow { name } => {
                let route = self.find(&name)?;
                let show = SetRequest::Show {
                    origin,
                    route: route.clone(),
                };
                self.ask_set(&route, show).await
            }
            Request::QueueList(list) => self.list(request_id, len, &list),
            Request::Route(route) => self.route(request_id, len, &route),
            Request::Admin(admin) => self.admin(request_id, len, admin),
            Request::QueueCreate(create) => {
                check_name(&create.name)?;
                let change = CatalogRequest::Create {
                    name: create.name,
                    changes: create.changes,
                };
                self.to_catalog(request_id, len, change, Reply::QueueCreated);
                Ok(())
            }
            Request::QueueSet(set) => {
                check_name(&set.name)?;
                let change = CatalogRequest::Set {
                    name: set.name,
                    changes: set.changes,
                };
                self.to_catalog(request_id, len, change, Reply::QueueChanged);
                Ok(())
            }
            Request::QueueDelete { name } => {
                check_name(&name)?;
                let change = CatalogRequest::Delete { name };
                self.to_catalog(request_id, len, change, Reply::QueueDeleted);
                Ok(())
            }
            Request::Hello(_) | Request::Authenticate(_) | Request::Ping => {
                unreachable!("the session answers these itself")
            }
        }
    }

    fn find(&mut self, name: &Name) -> Result<Arc<Route>, Refused> {
        self.look_again();
        let route = self.look_up(name);
        route.ok_or_else(|| Refused::new(ErrorCode::QueueNotFound))
    }

    /// What a redrive is to do, with its target found.
    fn redrive_order(&mut self, asked: &Redrive) -> Result<(Arc<Route>, RedriveOrder), Refused> {
        let route = self.find(&asked.queue)?;
        let target = match asked.to.is_empty() {
            true => None,
            false => Some(self.find(&asked.to)?),
        };
        if target
            .as_ref()
            .is_some_and(|target| target.queue == route.queue)
        {
            let text = "a queue is not redriven to itself";
            return Err(out_of(ErrorCode::InvalidDeadLetterQueue, text));
        }
        let order = RedriveOrder {
            target: target.as_ref().map(|target| target.queue),
            target_name: target.map_or(String::new(), |target| target.name.clone()),
            filter: asked.filter.clone(),
            rate: asked.rate,
        };
        Ok((route, order))
    }

    /// Waits for room, but not long: behind this request wait those for other sets, and pings.
    async fn ask_set(&mut self, route: &Route, request: SetRequest) -> Result<(), Refused> {
        let handed_over = self.shared.node.set_of(route)?.request(request);
        self.patience.within(route.set, handed_over).await
    }

    /// Changes take several entries in two sets, so they run beside the connection.
    fn to_catalog(&self, request_id: u64, len: usize, change: CatalogRequest, done: Reply) {
        let (outbox, catalog) = (self.outbox.clone(), self.shared.node.catalog().clone());
        tokio::task::spawn_local(async move {
            match catalog.request(change).await {
                Ok(()) => outbox.push(request_id, len, &done),
                Err(refused) => outbox.refuse(request_id, len, &refused),
            }
        });
    }

    /// Who leads the set of a queue, and where the nodes are.
    fn route(&mut self, request_id: u64, len: usize, asked: &RouteRequest) -> Result<(), Refused> {
        let set = match asked.queue.is_empty() {
            true => SetId(0),
            false => self.find(&asked.queue)?.set,
        };
        self.look_again();
        let (leader, term) = self.shared.node.leader(set);
        let mut nodes = self.directory.client_addresses();
        nodes.truncate(ROUTE_NODE_COUNT_MAX);
        let route = RouteReply {
            set,
            leader,
            term,
            nodes,
        };
        self.outbox.push(request_id, len, &Reply::Route(route));
        Ok(())
    }

    /// What an operator asks takes its time, so it runs beside the connection.
    fn admin(&self, request_id: u64, len: usize, asked: AdminRequest) -> Result<(), Refused> {
        let request = admin::parse(asked.verb.as_str(), &asked.json)
            .map_err(|text| out_of(ErrorCode::ClusterRefused, &text))?;
        let (outbox, node) = (self.outbox.clone(), self.shared.node.clone());
        tokio::task::spawn_local(async move {
            match node.cluster(request).await {
                Ok(reply) => {
                    let json = admin::render(&reply);
                    outbox.push(request_id, len, &Reply::Admin(AdminReply { json }));
                }
                Err(refused) => outbox.refuse(request_id, len, &refused),
            }
        });
        Ok(())
    }

    fn list(&mut self, request_id: u64, len: usize, list: &QueueList) -> Result<(), Refused> {
        let count_max = list.count_max as usize;
        if count_max == 0 || count_max > QUEUE_LIST_COUNT_MAX {
            return Err(out_of(
                ErrorCode::ReceiveOutOfRange,
                &format!("list: 1 to {QUEUE_LIST_COUNT_MAX} names at a time"),
            ));
        }
        self.look_again();
        let (names, more) =
            self.directory
                .list(list.prefix.as_str(), list.after.as_str(), count_max);
        self.outbox.push(
            request_id,
            len,
            &Reply::QueueListed(QueueListPage { names, more }),
        );
        Ok(())
    }
}

/// The queue that a request is about; none for one that makes, changes or removes it.
fn name_of(request: &Request) -> Option<&Name> {
    match request {
        Request::Send(send) => Some(&send.queue),
        Request::Receive(receive) => Some(&receive.queue),
        Request::Delete(delete) => Some(&delete.queue),
        Request::ChangeVisibility(change) => Some(&change.queue),
        Request::QueueShow { name }
        | Request::QueuePurge { name }
        | Request::RedriveStatus { name }
        | Request::RedriveCancel { name } => Some(name),
        Request::Redrive(redrive) => Some(&redrive.queue),
        Request::QueueRewind(rewind) => Some(&rewind.name),
        Request::Reschedule(reschedule) => Some(&reschedule.queue),
        Request::Peek(peek) => Some(&peek.queue),
        Request::Route(route) if !route.queue.is_empty() => Some(&route.queue),
        _ => None,
    }
}

fn needs_whole_directory(request: &Request) -> bool {
    matches!(request, Request::QueueList(_))
}

fn check_name(name: &Name) -> Result<(), Refused> {
    check_queue_name(name.as_str()).map_err(|code| {
        out_of(
            code,
            "invalid queue name: 1 to 64 letters, digits, `-` or `_`, the first a letter",
        )
    })
}

fn check_receive(receive: &sampan_protocol::Receive, route: &Route) -> Result<Receive, Refused> {
    let count_max = usize::from(receive.count_max);
    if count_max == 0 || count_max > BATCH_COUNT_MAX {
        let text = format!("receive: 1 to {BATCH_COUNT_MAX} messages");
        return Err(out_of(ErrorCode::ReceiveOutOfRange, &text));
    }
    if receive.len_max > RECEIVE_LEN_MAX {
        let text = format!("receive: at most {RECEIVE_LEN_MAX} bytes");
        return Err(out_of(ErrorCode::ReceiveOutOfRange, &text));
    }
    let wait_ms = receive.wait_ms.unwrap_or(route.attributes.receive_wait_ms);
    if wait_ms > RECEIVE_WAIT_MAX_MS {
        let text = format!("wait: 0 to {RECEIVE_WAIT_MAX_MS} ms");
        return Err(out_of(ErrorCode::WaitOutOfRange, &text));
    }
    if let Some(timeout) = receive.visibility_timeout_ms {
        check_visibility_timeout(timeout, VISIBILITY_TIMEOUT_MIN_MS)?;
    }
    let len_max = if receive.len_max == 0 {
        RECEIVE_LEN_DEFAULT
    } else {
        receive.len_max
    };
    Ok(Receive {
        queue: route.queue,
        count_max: receive.count_max,
        len_max,
        wait_ms,
        visibility_timeout_ms: receive.visibility_timeout_ms,
    })
}
