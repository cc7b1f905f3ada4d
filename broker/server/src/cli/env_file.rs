//! Files of `NAME=VALUE` lines, as `sampan serve --dev` writes them and a shell reads them.
//!
//! Understood: empty lines, comments, a leading `export`, values in single or double quotes taken
//! as they stand. Nothing is expanded: a value with `$` in it would mean one thing to a shell and
//! another here, so outside single quotes it is refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longest file that is read.
const ENV_FILE_LEN_MAX: u64 = 64 * 1024;

/// Why a file was not understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvFileError {
    #[error("cannot read {path}: {source}", path = .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} is longer than {ENV_FILE_LEN_MAX} bytes", path = .path.display())]
    TooLong { path: PathBuf },
    #[error("{path}, line {line}: {what}", path = .path.display())]
    Malformed {
        path: PathBuf,
        line: usize,
        what: &'static str,
    },
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, String>, EnvFileError> {
    let unreadable = |source| EnvFileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(ENV_FILE_LEN_MAX + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if u64::try_from(text.len()).is_ok_and(|len| len > ENV_FILE_LEN_MAX) {
        return Err(EnvFileError::TooLong {
            path: path.to_owned(),
        });
    }
    parse(&text).map_err(|(line, what)| EnvFileError::Malformed {
        path: path.to_owned(),
        line,
        what,
    })
}

/// Reads the text of a file; a mistake comes with its line, counted from 1.
fn parse(text: &str) -> Result<BTreeMap<String, String>, (usize, &'static str)> {
    let mut values = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if let Some((name, value)) = parse_line(line).map_err(|what| (index + 1, what))? {
            values.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(values)
}

fn parse_line(line: &str) -> Result<Option<(&str, &str)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = line.split_once('=').ok_or("expected NAME=VALUE")?;
    if name.is_empty()
        || !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err("the name has other characters than letters, digits and _");
    }
    parse_value(value).map(|value| Some((name, value)))
}

fn parse_value(value: &str) -> Result<&str, &'static str> {
    if let Some(rest) = value.strip_prefix('\'') {
        let inner = rest
            .strip_suffix('\'')
            .ok_or("the single quote is not closed")?;
        return if inner.contains('\'') {
            Err("text after the closing quote")
        } else {
            Ok(inner)
        };
    }
    let inner = match value.strip_prefix('"') {
        Some(rest) => rest
            .strip_suffix('"')
            .ok_or("the double quote is not closed")?,
        None if value.contains(char::is_whitespace) => {
            return Err("a value with spaces needs quotes");
        }
        None => value,
    };
    if inner.contains(['$', '`', '\\', '"', '\'']) {
        return Err("$, `, \\ and quotes are understood inside single quotes only");
    }
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Result<(String, String), &'static str> {
        let values = parse(line).map_err(|(_, what)| what)?;
        Ok(values.into_iter().next().expect("a line with a value"))
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn lines_are_read_as_a_shell_reads_them() {
        assert_eq!(one("A=b"), Ok(pair("A", "b")));
        assert_eq!(one("  export A=b  "), Ok(pair("A", "b")));
        assert_eq!(one("A="), Ok(pair("A", "")));
        assert_eq!(one("A=b=c"), Ok(pair("A", "b=c")));
        assert_eq!(one("A='b $c \\'"), Ok(pair("A", "b $c \\")));
        assert_eq!(one("A=\"b c\""), Ok(pair("A", "b c")));
        assert_eq!(
            one("A=sampan+tls://127.0.0.1:7411"),
            Ok(pair("A", "sampan+tls://127.0.0.1:7411"))
        );
    }

    #[test]
    fn comments_and_empty_lines_are_skipped_and_the_last_value_wins() {
        let values = parse("# a comment\n\nA=1\r\nB=2\nA=3\n").expect("good");
        assert_eq!(values, BTreeMap::from([pair("A", "3"), pair("B", "2")]));
    }

    #[test]
    fn a_mistake_comes_with_its_line() {
        assert_eq!(parse("A=1\nnonsense").map_err(|(line, _)| line), Err(2));
        for line in [
            "=1", "A B=1", "A=b c", "A='b", "A=\"b", "A=$B", "A=\"$B\"", "A='b'c'", "A=b\\c",
        ] {
            assert!(one(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_file_that_is_missing_or_too_long_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.env");
        assert!(
            read(&path)
                .expect_err("missing")
                .to_string()
                .contains("a.env")
        );
        std::fs::write(&path, vec![b'#'; 64 * 1024 + 1]).expect("written");
        assert!(matches!(read(&path), Err(EnvFileError::TooLong { .. })));
        std::fs::write(&path, "A=1\n").expect("written");
        assert_eq!(read(&path).expect("good"), BTreeMap::from([pair("A", "1")]));
    }
}
