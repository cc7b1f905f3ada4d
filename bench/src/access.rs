//! How clients get to the measured nodes: addresses and account, as the nodes' env files say.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use sampan_client::{Client, ClientBuilder};

/// A node that was just killed is not worth a longer wait.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// See the head of the file.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    variables: BTreeMap<String, String>,
}

impl Access {
    /// Reads lines of `NAME=VALUE`, as a node writes them.
    pub(crate) fn read(env_file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(env_file)
            .with_context(|| format!("cannot read {}", env_file.display()))?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let owned = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Access {
            variables: owned.collect(),
        })
    }

    /// A client of the node that wrote the file.
    pub(crate) fn builder(&self) -> anyhow::Result<ClientBuilder> {
        Ok(Client::builder()
            .server(self.variable("SAMPAN_SERVER")?)
            .ca_file(self.variable("SAMPAN_CA")?)
            .secret_id(self.variable("SAMPAN_SECRET_ID")?)
            .secret_key(self.variable("SAMPAN_SECRET_KEY")?)
            .connect_timeout(CONNECT_TIMEOUT))
    }

    /// The node's address.
    pub(crate) fn server(&self) -> anyhow::Result<&str> {
        self.variable("SAMPAN_SERVER")
    }

    fn variable(&self, name: &str) -> anyhow::Result<&str> {
        let value = self.variables.get(name).map(String::as_str);
        value.with_context(|| format!("the node's env file has no {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_env_file_is_read_line_by_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dev.env");
        std::fs::write(&path, "SAMPAN_SERVER=a://b:1\nSAMPAN_SECRET_KEY=x=y\n").expect("written");
        let access = Access::read(&path).expect("readable");
        assert_eq!(access.server().expect("there"), "a://b:1");
        assert_eq!(access.variable("SAMPAN_SECRET_KEY").expect("there"), "x=y");
        assert!(access.builder().is_err());
    }
}
