//! How a client behaves: what its builder collected, checked.

use std::fmt;
use std::time::Duration;

use crate::address::Address;
use crate::tls::Tls;

/// Everything that stays the same while a client lives.
#[derive(Clone)]
pub(crate) struct Config {
    /// Where to begin; at least one.
    pub(crate) servers: Vec<Address>,
    /// Present when an address asks for TLS.
    pub(crate) tls: Option<Tls>,
    pub(crate) secret_id: String,
    pub(crate) secret_key: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) retry_deadline: Duration,
    pub(crate) reconnect_attempts_max: u32,
    pub(crate) reconnect_deadline: Duration,
    pub(crate) resend_unknown: bool,
    pub(crate) messages_in_flight_max: usize,
    pub(crate) bytes_in_flight_max: usize,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the key nor anything derived from it belongs in a log.
        f.debug_struct("Config")
            .field("servers", &self.servers)
            .field("secret_id", &self.secret_id)
            .finish_non_exhaustive()
    }
}
