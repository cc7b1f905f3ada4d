//! Clients of a test's broker, by the SDK.

use std::collections::BTreeMap;
use std::time::Duration;

use sampan_client::{Client, ClientBuilder};

/// No broker of a test is away for longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(300);

/// A client as the broker's env file says.
pub(crate) fn builder(env: &BTreeMap<String, String>) -> ClientBuilder {
    Client::builder()
        .server(&env["SAMPAN_SERVER"])
        .ca_file(&env["SAMPAN_CA"])
        .secret_id(&env["SAMPAN_SECRET_ID"])
        .secret_key(&env["SAMPAN_SECRET_KEY"])
        .connect_timeout(PATIENCE)
        .request_timeout(PATIENCE)
        .reconnect_deadline(PATIENCE)
}

/// The same, connected.
pub(crate) async fn connect(env: &BTreeMap<String, String>) -> Client {
    builder(env).connect().await.expect("the broker is there")
}
