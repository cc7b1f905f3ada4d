//! A cluster of scripted nodes: each accepts everybody, answers `route` from what it is told to
//! know, refuses what it does not lead, and stores what it leads in a list.
//!
//! A test changes who leads, kills or stops nodes, or answers single requests itself by a script.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use sampan_client::{Client, ClientBuilder};
use sampan_protocol::{
    AdminReply, Durability, ErrorCode, HandleResults, MessageId, Reply, Request, RouteReply, Sent,
    SetId,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::sessions::Sessions;
use super::{Connection, SECRET_ID, SECRET_KEY, bodies, messages};

/// What a node does about one request instead of the usual.
pub enum Act {
    Refuse(ErrorCode),
    /// Closes the connection without an answer.
    Break,
    /// Carries it out, and closes the connection without an answer.
    DoAndBreak,
    /// Says nothing to this request, ever.
    Ignore,
    /// The whole node stops: connections stay open, and nothing is answered any more.
    Stop,
}

/// A test's say in single requests: the node and the request.
pub type Script = Box<dyn FnMut(&mut World, u64, &Request) -> Option<Act> + Send>;

/// What all nodes share.
#[derive(Default)]
pub struct World {
    /// Who leads the set of every queue, and who leads the catalog.
    pub leader: Option<u64>,
    pub term: u64,
    /// What the nodes tell of themselves.
    pub nodes: Vec<(u64, String)>,
    /// Bodies, and where they were stored, in order.
    pub stored: Vec<(u64, String)>,
    /// What numbered sends have stored.
    pub sessions: Sessions,
    /// Queues that were created.
    pub queues: BTreeSet<String>,
    /// Requests that are not pings nor questions for the catalog, by node and kind.
    pub asked: Vec<(u64, u8)>,
    /// Nodes that hear nothing of the others, and so know of no leader.
    pub cut_off: BTreeSet<u64>,
    stopped: BTreeSet<u64>,
}

impl World {
    pub fn lead(&mut self, node: u64) {
        self.leader = Some(node);
        self.term += 1;
    }

    /// Deletes a queue and makes it again. Bodies begin with the queue's name.
    pub fn make_again(&mut self, queue: &str) {
        self.sessions.forget(queue);
        self.stored.retain(|(_, body)| !body.starts_with(queue));
    }

    /// How many requests of a kind came to a node; 0 for all nodes.
    pub fn count(&self, node: u64, kind: u8) -> usize {
        let is_it = |asked: &&(u64, u8)| (node == 0 || asked.0 == node) && asked.1 == kind;
        self.asked.iter().filter(is_it).count()
    }

    fn serve(&mut self, node: u64, request: &Request) -> Reply {
        let leader = self.leader.filter(|_| !self.cut_off.contains(&node));
        match request {
            Request::Ping => return Reply::Pong,
            Request::Route(_) => {
                return Reply::Route(RouteReply {
                    set: SetId(0),
                    leader,
                    term: self.term,
                    nodes: self.nodes.clone(),
                });
            }
            Request::Admin(admin) => {
                let json = format!("{}@{node}", admin.verb);
                return Reply::Admin(AdminReply { json });
            }
            _ => {}
        }
        match leader {
            Some(leader) if leader == node => self.lead_request(node, request),
            Some(_) => refusal(ErrorCode::NotLeader),
            None => refusal(ErrorCode::NoLeader),
        }
    }

    /// Carries a request out as its leader would.
    pub fn lead_request(&mut self, node: u64, request: &Request) -> Reply {
        match request {
            Request::Send(send) => {
                match self.sessions.judge(send) {
                    Ok(None) => {}
                    Ok(Some(sent)) => return Reply::Sent(sent.acknowledged(Durability::Sync)),
                    Err(code) => return refusal(code),
                }
                let first = MessageId(self.stored.len() as u64 + 1);
                let bodies = bodies(send);
                let count = u32::try_from(bodies.len()).expect("at most 256");
                self.stored
                    .extend(bodies.into_iter().map(|body| (node, body)));
                let runs = vec![(first, count)];
                let sent = Sent { runs };
                self.sessions.note(send, sent.clone());
                Reply::Sent(sent.acknowledged(Durability::Sync))
            }
            Request::Receive(_) => messages(node..node + 1),
            Request::Delete(_) => Reply::Deleted(HandleResults::default()),
            Request::QueueCreate(create) => match self.queues.insert(create.name.to_string()) {
                true => Reply::QueueCreated,
                false => refusal(ErrorCode::QueueAlreadyExists),
            },
            Request::QueueDelete { name } => match self.queues.remove(name.as_str()) {
                true => Reply::QueueDeleted,
                false => refusal(ErrorCode::QueueNotFound),
            },
            other => panic!("{other:?}"),
        }
    }
}

fn refusal(code: ErrorCode) -> Reply {
    Reply::Error(sampan_protocol::ErrorReply::new(code, code.text()))
}

struct Node {
    port: u16,
    /// Its listener and its connections; dropped with it.
    tasks: JoinSet<()>,
}

/// See the head of the file.
pub struct Cluster {
    world: Arc<Mutex<World>>,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Nodes 1 to `count`; the first leads.
    pub async fn new(count: u64, script: Option<Script>) -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let script = Arc::new(Mutex::new(script));
        let mut nodes = Vec::new();
        for id in 1..=count {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let port = listener.local_addr().expect("it is bound").port();
            lock(&world).nodes.push((id, format!("127.0.0.1:{port}")));
            let mut tasks = JoinSet::new();
            tasks.spawn(accept(
                id,
                listener,
                Arc::clone(&world),
                Arc::clone(&script),
            ));
            nodes.push(Node { port, tasks });
        }
        lock(&world).lead(1);
        Cluster { world, nodes }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    pub fn address(&self, node: usize) -> String {
        format!("sampan+tcp://127.0.0.1:{}", self.nodes[node - 1].port)
    }

    /// A builder that knows these nodes.
    pub fn builder(&self, nodes: &[usize]) -> ClientBuilder {
        let builder = Client::builder()
            .secret_id(SECRET_ID)
            .secret_key(SECRET_KEY);
        nodes
            .iter()
            .fold(builder, |builder, node| builder.server(self.address(*node)))
    }

    pub async fn client(&self, nodes: &[usize]) -> Client {
        let client = self.builder(nodes).connect().await;
        client.expect("the nodes accept everybody")
    }

    /// Ends a node: its port is closed and its connections break.
    pub async fn kill(&mut self, node: usize) {
        self.nodes[node - 1].tasks.shutdown().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds it")
}

async fn accept(
    id: u64,
    listener: TcpListener,
    world: Arc<Mutex<World>>,
    script: Arc<Mutex<Option<Script>>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let (world, script) = (Arc::clone(&world), Arc::clone(&script));
        connections.spawn(async move {
            if lock(&world).stopped.contains(&id) {
                std::future::pending::<()>().await;
            }
            let mut connection = Connection::new(Box::new(stream));
            connection.shake_hands(4_096).await;
            serve(id, connection, &world, &script).await;
        });
    }
}

async fn serve(
    id: u64,
    mut connection: Connection,
    world: &Mutex<World>,
    script: &Mutex<Option<Script>>,
) {
    while let Some(asked) = connection.next_of_any().await {
        let (act, reply) = {
            let mut world = lock(world);
            let is_noise = match &asked.request {
                Request::Ping => true,
                Request::Route(route) => route.queue.is_empty(),
                _ => false,
            };
            if !is_noise {
                world.asked.push((id, asked.request.kind()));
            }
            let act = match &mut *lock(script) {
                Some(script) => script(&mut world, id, &asked.request),
                None => None,
            };
            if matches!(act, Some(Act::Stop)) {
                world.stopped.insert(id);
            }
            let is_done = matches!(act, None | Some(Act::DoAndBreak));
            let reply = is_done.then(|| world.serve(id, &asked.request));
            (act, reply)
        };
        let is_stopped = lock(world).stopped.contains(&id);
        if is_stopped {
            std::future::pending::<()>().await;
        }
        match (act, reply) {
            (None, Some(reply)) => connection.reply_if_there(asked.id, reply).await,
            (Some(Act::Refuse(code)), _) => {
                connection.reply_if_there(asked.id, refusal(code)).await
            }
            (Some(Act::Ignore), _) => {}
            _ => return,
        }
    }
}
