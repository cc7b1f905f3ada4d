//! What a node tells of itself at its HTTP address. Spec: spec/http.md, "Metrics".

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One look at a node's figures.
#[derive(Clone, Debug)]
pub(crate) struct Figures(String);

impl Figures {
    pub(crate) async fn read(address: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        // One request per connection: the node closes it.
        stream.read_to_string(&mut answer).await?;
        if !answer.starts_with("HTTP/1.1 200 ") {
            bail!("no figures at {address}");
        }
        Ok(Figures(answer))
    }

    /// A figure of one set.
    pub(crate) fn of_set(&self, name: &str, set: u32) -> anyhow::Result<f64> {
        let begins = format!("{name}{{set=\"{set}\"}} ");
        let value = self.0.lines().find_map(|line| line.strip_prefix(&begins));
        let value = value.with_context(|| format!("the figures have no {name} of set {set}"))?;
        Ok(value.trim().parse()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_found_by_its_name_and_set() {
        let text = "# TYPE a gauge\na{set=\"1\"} 7\na{set=\"12\"} 1700000000.25\nab{set=\"1\"} 9\n";
        let figures = Figures(text.to_owned());
        assert_eq!(figures.of_set("a", 1).expect("there"), 7.0);
        assert_eq!(figures.of_set("a", 12).expect("there"), 1_700_000_000.25);
        assert!(figures.of_set("a", 2).is_err());
    }
}
