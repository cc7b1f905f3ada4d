//! Waiting for what must come, and clients that wait as long.

use std::collections::BTreeMap;
use std::time::Duration;

use sampan_client::{Client, ClientBuilder};

use crate::waiting::within;

/// What has not come by then never will; only a bound for broken clusters.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A client by the variables of an environment, to be made.
pub(crate) fn builder(env: &BTreeMap<String, String>) -> ClientBuilder {
    Client::builder()
        .server(&env["SAMPAN_SERVER"])
        .ca_file(&env["SAMPAN_CA"])
        .secret_id(&env["SAMPAN_SECRET_ID"])
        .secret_key(&env["SAMPAN_SECRET_KEY"])
        .retry_deadline(PATIENCE)
        .request_timeout(PATIENCE)
        .reconnect_deadline(PATIENCE)
}

/// A client by the variables of an environment.
pub(crate) async fn connect(env: &BTreeMap<String, String>) -> Client {
    builder(env).connect().await.expect("a node is there")
}

/// Runs a future to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// Waits until `found` finds something.
pub(crate) fn wait_for<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, found)
}
