//! Builds a client: where to, as whom, and within which limits.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sampan_protocol::limits::SECRET_ID_LEN_MAX;

use crate::address::Address;
use crate::client::Client;
use crate::config::Config;
use crate::error::Error;
use crate::servers::CONNECTIONS_MAX;
use crate::tls::Tls;

/// Builds a [`Client`]; see [`Client::builder`].
///
/// Nothing is checked before [`ClientBuilder::connect`].
#[derive(Clone)]
pub struct ClientBuilder {
    /// As given, each one or several addresses.
    servers: Vec<String>,
    /// What counts while none is given.
    server_default: String,
    ca_pem: Option<Vec<u8>>,
    ca_file: Option<PathBuf>,
    secret_id: String,
    secret_key: String,
    connect_timeout: Duration,
    request_timeout: Duration,
    keep_alive: Duration,
    retry_deadline: Duration,
    reconnect_attempts_max: u32,
    reconnect_deadline: Duration,
    resend_unknown: bool,
    messages_in_flight_max: usize,
    bytes_in_flight_max: usize,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        ClientBuilder {
            servers: Vec::new(),
            server_default: "sampan+tls://127.0.0.1:7411".to_owned(),
            ca_pem: None,
            ca_file: None,
            secret_id: String::new(),
            secret_key: String::new(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            retry_deadline: Duration::from_secs(30),
            reconnect_attempts_max: u32::MAX,
            reconnect_deadline: Duration::from_secs(60),
            resend_unknown: true,
            messages_in_flight_max: 8_192,
            bytes_in_flight_max: 32 * 1024 * 1024,
        }
    }
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key must not get into a log.
        f.debug_struct("ClientBuilder")
            .field("servers", &self.servers)
            .field("secret_id", &self.secret_id)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// The settings that the environment names: `SAMPAN_SERVER` (one address or several with commas
    /// between them), `SAMPAN_CA` (the path of a PEM file), `SAMPAN_SECRET_ID` and
    /// `SAMPAN_SECRET_KEY`; what is not set keeps its default.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] when a variable is not UTF-8.
    pub fn from_env() -> Result<Self, Error> {
        ClientBuilder::from_variables(|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(error) => Err(Error::configuration(format!("{name}: {error}"))),
        })
    }

    fn from_variables(
        variable: impl Fn(&str) -> Result<Option<String>, Error>,
    ) -> Result<Self, Error> {
        let mut builder = ClientBuilder::default();
        if let Some(server) = variable("SAMPAN_SERVER")? {
            builder.server_default = server;
        }
        if let Some(path) = variable("SAMPAN_CA")?.filter(|path| !path.is_empty()) {
            builder = builder.ca_file(path);
        }
        if let Some(id) = variable("SAMPAN_SECRET_ID")? {
            builder = builder.secret_id(id);
        }
        if let Some(key) = variable("SAMPAN_SECRET_KEY")? {
            builder = builder.secret_key(key);
        }
        Ok(builder)
    }

    /// Where a node of the broker is: `sampan+tls://HOST:PORT` or `sampan+tcp://HOST:PORT`. Without
    /// a port, 7411. Default `sampan+tls://127.0.0.1:7411`.
    ///
    /// Several calls, or several addresses with commas between them, name several nodes of one
    /// cluster, at most 64; in a list an address without a scheme has that of the one before. One
    /// node that is up is enough: it tells where the others are. The first call replaces what
    /// [`ClientBuilder::from_env`] found.
    #[must_use]
    pub fn server(mut self, address: impl Into<String>) -> Self {
        self.servers.push(address.into());
        self
    }

    /// Certificates to trust, as PEM text. TLS needs this or [`ClientBuilder::ca_file`]; no others
    /// are trusted.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_pem = Some(pem.into());
        self
    }

    /// A PEM file with certificates to trust, read when connecting.
    #[must_use]
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.ca_file = Some(path.as_ref().to_owned());
        self
    }

    /// The account to authenticate as; 1 to 128 bytes.
    #[must_use]
    pub fn secret_id(mut self, id: impl Into<String>) -> Self {
        self.secret_id = id.into();
        self
    }

    /// The account's key. It signs the broker's challenge and never leaves this process.
    #[must_use]
    pub fn secret_key(mut self, key: impl Into<String>) -> Self {
        self.secret_key = key.into();
        self
    }

    /// How long one attempt to connect, encrypt and authenticate may take. Default 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a reply may take, counted from when the request was accepted; a receive has its
    /// wait on top. Time without a connection counts. Default 30 s.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// After how long a silence the broker is asked whether it is there. When it is silent for as
    /// long again, the connection counts as broken. Default 15 s.
    ///
    /// While a request is unanswered it is asked after one second at the latest, and given up after
    /// two more.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = interval;
        self
    }

    /// For how long a refused request is repeated before the caller hears of it, when the refusal
    /// comes from the state that the cluster is in: `NoLeader`, `LeaderChanged`, `NotLeader`,
    /// `ShuttingDown` and `QueueBusy`, and `OutcomeUnknown` where a repeat is allowed (see
    /// [`ClientBuilder::resend_unknown`]). It ends with the request timeout at the latest. Zero:
    /// never. Default 30 s. What cannot be sent for so long because nobody is known to lead its
    /// queue is refused with `NoLeader`.
    ///
    /// A send that only waits because one before it was refused does not use up its time by that.
    #[must_use]
    pub fn retry_deadline(mut self, deadline: Duration) -> Self {
        self.retry_deadline = deadline;
        self
    }

    /// After how many failed attempts at every known node in a row, while there is no connection at
    /// all, everything that waits for one fails.
    /// The next call starts over. Default: no limit but [`ClientBuilder::reconnect_deadline`].
    #[must_use]
    pub fn reconnect_attempts_max(mut self, attempts: u32) -> Self {
        self.reconnect_attempts_max = attempts;
        self
    }

    /// After how long without a connection everything that waits for one fails. The next call
    /// starts over. Default 60 s.
    #[must_use]
    pub fn reconnect_deadline(mut self, deadline: Duration) -> Self {
        self.reconnect_deadline = deadline;
        self
    }

    /// Whether a send is repeated when nobody knows what became of it: its connection broke before
    /// the reply came, or the broker answered `OutcomeUnknown`. Default: yes, so that the failure
    /// of a node shows as latency. The sends of a queue are numbered for that, and the broker
    /// stores each number once: a repeat stores nothing twice (see
    /// [`Queue::send`](crate::Queue::send)).
    ///
    /// Without it sends go out without numbers, the broker remembers nothing of them, and such a
    /// send fails and says [`Applied::Unknown`](crate::Applied::Unknown).
    #[must_use]
    pub fn resend_unknown(mut self, resend: bool) -> Self {
        self.resend_unknown = resend;
        self
    }

    /// How many messages may be accepted and not yet answered; at least 1. Default 8,192.
    ///
    /// Beyond it, a send waits in a line: see [`Queue::send`](crate::Queue::send).
    #[must_use]
    pub fn messages_in_flight_max(mut self, count: usize) -> Self {
        self.messages_in_flight_max = count;
        self
    }

    /// How many bytes those messages may have together, 24 for each message included. Default
    /// 32 MiB. A single message or batch over the limit goes out alone.
    #[must_use]
    pub fn bytes_in_flight_max(mut self, len: usize) -> Self {
        self.bytes_in_flight_max = len;
        self
    }

    /// Connects to a node and authenticates, in one attempt at each address that was given: the
    /// next is tried when one fails, or does not answer within half a second. Other nodes are
    /// connected when they are needed.
    ///
    /// Must be called inside a tokio runtime: each connection gets a task of its own there, and one
    /// more heals them when they break.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] for an address, certificate or account that can't work,
    /// [`Error::Disconnected`] or [`Error::TimedOut`] when there is no way to any node, and
    /// [`Error::Refused`] when it does not accept the account.
    pub async fn connect(self) -> Result<Client, Error> {
        Client::connect(self.check()?).await
    }

    fn check(self) -> Result<Config, Error> {
        let servers = self.addresses()?;
        if self.secret_id.is_empty() || self.secret_id.len() > SECRET_ID_LEN_MAX {
            let text = format!("the SecretId must have 1 to {SECRET_ID_LEN_MAX} bytes");
            return Err(Error::configuration(text));
        }
        if self.secret_key.is_empty() {
            return Err(Error::configuration("the SecretKey is missing"));
        }
        if self.messages_in_flight_max == 0 {
            return Err(Error::configuration(
                "messages_in_flight_max must be at least 1",
            ));
        }
        let tls = match servers.iter().any(|address| address.tls) {
            true => Some(Tls::new(&self.ca()?)?),
            false => None,
        };
        Ok(Config {
            servers,
            tls,
            secret_id: self.secret_id,
            secret_key: self.secret_key,
            connect_timeout: self.connect_timeout.min(DURATION_MAX),
            request_timeout: self.request_timeout.min(DURATION_MAX),
            keep_alive: self.keep_alive.clamp(KEEP_ALIVE_MIN, DURATION_MAX),
            retry_deadline: self.retry_deadline.min(DURATION_MAX),
            reconnect_attempts_max: self.reconnect_attempts_max,
            reconnect_deadline: self.reconnect_deadline.min(DURATION_MAX),
            resend_unknown: self.resend_unknown,
            messages_in_flight_max: self.messages_in_flight_max,
            bytes_in_flight_max: self.bytes_in_flight_max,
        })
    }

    fn addresses(&self) -> Result<Vec<Address>, Error> {
        let given = match self.servers.as_slice() {
            [] => std::slice::from_ref(&self.server_default),
            servers => servers,
        };
        let mut addresses: Vec<Address> = Vec::new();
        for text in given {
            for address in Address::parse_list(text)? {
                if address.tls {
                    Tls::name(&address.host)?;
                }
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        if addresses.len() > CONNECTIONS_MAX {
            let text = format!(
                "{} server addresses; at most {CONNECTIONS_MAX}",
                addresses.len()
            );
            return Err(Error::configuration(text));
        }
        Ok(addresses)
    }

    fn ca(&self) -> Result<Vec<u8>, Error> {
        let mut pem = self.ca_pem.clone().unwrap_or_default();
        if let Some(path) = &self.ca_file {
            let file = std::fs::read(path)
                .map_err(|error| Error::configuration(format!("{}: {error}", path.display())))?;
            pem.extend_from_slice(&file);
        }
        if pem.is_empty() {
            return Err(Error::configuration(
                "TLS needs the CA certificates of the broker",
            ));
        }
        Ok(pem)
    }
}

/// Shortest keep-alive interval; shorter ones are raised to it.
const KEEP_ALIVE_MIN: Duration = Duration::from_millis(10);
/// Longest timeout, interval or deadline, so that instants far ahead can be computed: one year.
/// Longer ones are lowered to it.
const DURATION_MAX: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Result<Option<String>, Error> {
        Ok(match name {
            "SAMPAN_SERVER" => Some("sampan+tcp://broker:1".to_owned()),
            "SAMPAN_SECRET_ID" => Some("AKIDexample".to_owned()),
            "SAMPAN_SECRET_KEY" => Some("key".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn the_environment_names_server_and_account() {
        let config = ClientBuilder::from_variables(variables).and_then(ClientBuilder::check);
        let config = config.expect("complete for an address without TLS");
        assert_eq!(config.request_timeout, Duration::from_secs(30));
        assert_eq!(config.servers[0].to_string(), "broker:1");
        assert_eq!(config.secret_id, "AKIDexample");
        assert!(
            !format!("{config:?}").contains("key\""),
            "the key stays out of logs"
        );
    }

    #[test]
    fn addresses_given_one_by_one_replace_that_of_the_environment() {
        let builder = ClientBuilder::from_variables(variables).expect("readable");
        let builder = builder
            .server("sampan+tcp://a:1,b:2")
            .server("sampan+tcp://c,a:1");
        let config = builder.check().expect("complete");
        let servers: Vec<_> = config.servers.iter().map(Address::to_string).collect();
        assert_eq!(servers, ["a:1", "b:2", "c:7411"]);
    }

    #[test]
    fn endless_times_are_as_good_as_a_year() {
        let builder = ClientBuilder::from_variables(variables).expect("readable");
        let builder = builder
            .request_timeout(Duration::MAX)
            .keep_alive(Duration::MAX);
        let config = builder.check().expect("complete");
        assert_eq!(
            (config.request_timeout, config.keep_alive),
            (DURATION_MAX, DURATION_MAX)
        );
    }

    #[test]
    fn what_cannot_work_is_refused_before_anything_is_sent() {
        let good = || ClientBuilder::from_variables(variables).expect("readable");
        let bad = [
            good().server("broker:1"),
            good().server("sampan+tls://broker:1"),
            good()
                .server("sampan+tls://broker:1")
                .ca_file("/nonexistent/ca.pem"),
            good().secret_id(""),
            good().secret_key(""),
            good().messages_in_flight_max(0),
        ];
        for builder in bad {
            let error = builder.clone().check().expect_err(&format!("{builder:?}"));
            assert!(matches!(error, Error::Configuration { .. }), "{error}");
        }
    }
}
