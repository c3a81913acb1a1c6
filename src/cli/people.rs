//! Tables that fit 80 columns, and lines on standard output.

use std::io::Write as _;

/// Prints a line. A reader that went away (`| head`) is no failure.
pub(super) fn say(text: impl AsRef<str>) {
    writeln!(std::io::stdout(), "{}", text.as_ref()).ok();
}

/// Says on standard error what is no output.
pub(super) fn warn(text: impl AsRef<str>) {
    writeln!(std::io::stderr(), "{}", text.as_ref()).ok();
}

/// How much is written at once.
const PIECE: usize = 256 << 10;

/// Prints JSON, piece by piece: the board of a large cluster is a text of tens of megabytes.
pub(super) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::with_capacity(PIECE, std::io::stdout().lock());
    match serde_json::to_writer_pretty(&mut out, value) {
        // Whoever has read enough closes the pipe.
        Err(error) if error.is_io() => return Ok(()),
        written => written?,
    }
    writeln!(out).and_then(|()| out.flush()).ok();
    Ok(())
}

/// Prints rows under a heading. All columns but the last are as wide as their widest cell; the last is cut
/// so that a row fits `COLUMNS`.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) {
    const COLUMNS: usize = 80;
    let mut widths = heading.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let fixed: usize = widths[..N - 1].iter().map(|width| width + 2).sum();
    let last = COLUMNS.saturating_sub(fixed).max(16);
    let line = |cells: Vec<String>| {
        let mut text = String::new();
        for (index, cell) in cells.iter().enumerate() {
            if index + 1 == N {
                text.push_str(&cut(cell, last));
            } else {
                let width = widths[index];
                text.push_str(&format!("{cell:<width$}  "));
            }
        }
        say(text.trim_end());
    };
    line(heading.iter().map(|cell| (*cell).to_owned()).collect());
    rows.iter().for_each(|row| line(row.to_vec()));
}

/// A text of at most `width` characters, with a mark where something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    let text = text.replace('\n', " ");
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn long_texts_are_cut_and_say_so() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("a\nb", 4), "a b");
    }
}
