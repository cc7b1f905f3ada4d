//! One figure of a node's metrics.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The sum of all values of a metric, as whole numbers.
pub(crate) fn sum(address: SocketAddr, name: &str) -> io::Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    sum_of(&text, name).ok_or_else(|| io::Error::other(format!("there is no metric {name}")))
}

fn sum_of(text: &str, name: &str) -> Option<u64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.split_once('}')?.1,
            None => rest.starts_with(' ').then_some(rest)?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_and_without_labels_are_added_and_other_metrics_are_not() {
        let text = "# HELP a_total b\na_total{set=\"1\"} 2\na_total{set=\"2\"} 3.0\na_total_b 9\n";
        assert_eq!(sum_of(text, "a_total"), Some(5));
        assert_eq!(sum_of("a_total 7\n", "a_total"), Some(7));
        assert_eq!(sum_of(text, "c_total"), None);
    }
}
