//! A connection for a command: from the environment, or from a file of the same variables.

use std::path::Path;

use sampan_client::{Client, ClientBuilder};

use super::args::ClientOptions;
use super::env_file;
use super::failure::Failure;

/// Connects once; a command for people or scripts must not hang where there is no broker.
pub(crate) async fn connect(options: &ClientOptions) -> Result<Client, Failure> {
    Ok(builder(options.env_file.as_deref())?.connect().await?)
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
