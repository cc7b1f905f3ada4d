//! Figures of a node's metrics.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const SILENCE_MAX: Duration = Duration::from_secs(30);
/// For looks that are repeated anyway.
const SHORT_SILENCE_MAX: Duration = Duration::from_millis(500);

/// The sum of all values of a metric, as whole numbers.
pub(crate) fn sum(address: SocketAddr, name: &str) -> io::Result<u64> {
    let values = values_of(&get(address, SILENCE_MAX)?, name);
    let missing = || io::Error::other(format!("there is no metric {name}"));
    let sum = values.values().map(|value| *value as u64).sum();
    (!values.is_empty()).then_some(sum).ok_or_else(missing)
}

/// The values of a metric by their labels, as whole numbers.
pub(crate) fn by_labels(address: SocketAddr, name: &str) -> io::Result<BTreeMap<String, u64>> {
    let values = values_of(&get(address, SHORT_SILENCE_MAX)?, name);
    Ok(values
        .into_iter()
        .map(|(labels, value)| (labels, value as u64))
        .collect())
}

fn get(address: SocketAddr, silence_max: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, silence_max)?;
    stream.set_read_timeout(Some(silence_max))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn values_of(text: &str, name: &str) -> BTreeMap<String, f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(labelled) => labelled.split_once('}')?,
            None => rest.starts_with(' ').then_some(("", rest))?,
        };
        let value = value.split_whitespace().next()?.parse().ok()?;
        Some((labels.to_owned(), value))
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_by_their_labels_and_other_metrics_are_left_out() {
        let text = "# HELP a_total b\na_total{set=\"1\"} 2\na_total{set=\"2\"} 3.0\na_total_b 9\n";
        let both = BTreeMap::from([("set=\"1\"".to_owned(), 2.0), ("set=\"2\"".to_owned(), 3.0)]);
        assert_eq!(values_of(text, "a_total"), both);
        let plain = BTreeMap::from([(String::new(), 7.0)]);
        assert_eq!(values_of("a_total 7\n", "a_total"), plain);
        assert!(values_of(text, "c_total").is_empty());
    }
}
