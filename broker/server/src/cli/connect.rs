//! A connection for a command: from the environment, or from a file of the same variables.

use std::path::Path;

use sampan_client::{Client, ClientBuilder, Error};

use super::args::ClientOptions;
use super::env_file;
use super::failure::Failure;

/// What to do when the settings can't work; most often there are none.
const HINT: &str = "name the broker with --env-file FILE, or with SAMPAN_SERVER, SAMPAN_CA, \
    SAMPAN_SECRET_ID and SAMPAN_SECRET_KEY in the environment";

/// Connects once; a command for people or scripts must not hang where there is no broker.
pub(crate) async fn connect(options: &ClientOptions) -> Result<Client, Failure> {
    match builder(options.env_file.as_deref())?.connect().await {
        Ok(client) => Ok(client),
        Err(error @ Error::Configuration { .. }) => Err(Failure::Usage(format!("{error}; {HINT}"))),
        Err(error) => Err(error.into()),
    }
}

/// What environment and file say; the file wins.
pub(crate) fn builder(file: Option<&Path>) -> Result<ClientBuilder, Failure> {
    let mut builder = ClientBuilder::from_env()?;
    let Some(path) = file else { return Ok(builder) };
    for (name, value) in env_file::read(path)? {
        builder = match name.as_str() {
            "SAMPAN_SERVER" => builder.server(value),
            "SAMPAN_CA" => builder.ca_file(value),
            "SAMPAN_SECRET_ID" => builder.secret_id(value),
            "SAMPAN_SECRET_KEY" => builder.secret_key(value),
            _ => builder,
        };
    }
    Ok(builder)
}
