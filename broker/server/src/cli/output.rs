//! Everything that the client commands print: results to standard output in the chosen format,
//! errors and progress to standard error.
//!
//! No other file of `cli` prints. Results are buffered; [`Output::flush`] is called before
//! anything that must not happen unless the user has the result, such as deleting what was
//! received. A table's columns are as wide as their widest cell, so a table is printed as a whole.

use std::io::{self, BufWriter, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::args::Format;
use super::failure::Failure;

/// Where results go.
pub(crate) struct Output {
    format: Format,
    out: Box<dyn Write>,
}

impl Output {
    /// Standard output.
    pub(crate) fn stdout(format: Format) -> Self {
        Output {
            format,
            out: Box::new(BufWriter::new(io::stdout())),
        }
    }

    /// The chosen format.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// One line of text.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{text}").map_err(Failure::Output)
    }

    /// One JSON object on a line.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| Failure::Output(error.into()))?;
        self.line(&text)
    }

    /// A line for people, or an object for programs.
    pub(crate) fn either(&mut self, text: &str, value: &impl Serialize) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.line(text),
            Format::Json => self.json(value),
        }
    }

    /// Rows in columns; the last column is not padded.
    pub(crate) fn table(&mut self, rows: &[Vec<String>]) -> Result<(), Failure> {
        let widths = widths(rows);
        for row in rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                let padding = width.saturating_sub(cell.chars().count()) + 2;
                line.extend(std::iter::repeat_n(' ', padding));
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Gives everything to the reader.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::Output)
    }
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (cell, width) in row.iter().zip(&mut widths) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

/// One line on standard error.
pub(crate) fn complain(text: &str) {
    // There is nowhere left to say that standard error is closed.
    writeln!(io::stderr(), "sampan: {text}").unwrap_or(());
}

/// A progress bar of `count` messages, or a counter when it is not known how many there will be;
/// shown only when standard error is a terminal.
pub(crate) fn progress(count: Option<u64>) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(count, target);
    let template = match count {
        Some(_) => "{bar:40} {human_pos}/{human_len} messages  {per_sec}  {eta} left",
        None => "{spinner} {human_pos} messages  {per_sec}  {elapsed}",
    };
    let style =
        ProgressStyle::with_template(template).expect("the templates above are well formed");
    bar.set_style(style);
    bar
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `print` prints in a format.
    pub(crate) fn printed(
        format: Format,
        print: impl FnOnce(&mut Output) -> Result<(), Failure>,
    ) -> String {
        let (text, done) = attempted(format, print);
        done.expect("memory takes everything");
        text
    }

    /// What `print` prints in a format, and whether it fails.
    pub(crate) fn attempted(
        format: Format,
        print: impl FnOnce(&mut Output) -> Result<(), Failure>,
    ) -> (String, Result<(), Failure>) {
        let captured = Captured::default();
        let mut output = Output {
            format,
            out: Box::new(captured.clone()),
        };
        let done = print(&mut output);
        let bytes = captured.0.lock().unwrap().clone();
        (String::from_utf8(bytes).expect("text"), done)
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_tail() {
        let rows = [
            vec!["ID".to_owned(), "BODY".to_owned()],
            vec!["1000".to_owned(), String::new()],
        ];
        let text = printed(Format::Table, |output| output.table(&rows));
        assert_eq!(text, "ID    BODY\n1000\n");
    }

    #[test]
    fn an_object_is_one_line_whatever_is_in_it() {
        let text = printed(Format::Json, |output| output.json(&("a\nb",)));
        assert_eq!(text, "[\"a\\nb\"]\n");
    }
}
