//! The table in `docs/failure.md`: what is written there must be what the tests see.
//!
//! Each failure has a test of its own, which knows only its own rows. With `UPDATE_DOCS=1` it writes them instead of
//! comparing them; a lock on the file keeps tests that run side by side apart.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

const BEGIN: &str = "<!-- observed: begin -->\n";
const END: &str = "<!-- observed: end -->";

/// The first cells of a row; the rest is what was seen.
pub const HEADER: &str = "| the store is | strategy | `GET /me` | `GET /cart` | `POST /cart/lines` | `POST /login` | `POST /logout` | `/readyz` | nodes in rotation | credential | afterwards |\n\
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";

/// Compares the rows of one failure with those in the documentation, or writes them there.
pub fn check(failure: Failure, rows: &[String]) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return update(failure, rows);
    }
    let text = std::fs::read_to_string(path()).expect("docs/failure.md");
    let (_, table, _) = parts(&text);
    let written = rows_of(table, failure);
    assert!(
        written == rows,
        "docs/failure.md says of a store that is {}:\n{}\nand this was seen:\n{}\n\
         If the new behaviour is right, run `UPDATE_DOCS=1 cargo nextest run -p tests --test failure` and read the prose again.",
        failure.name(),
        written.join("\n"),
        rows.join("\n"),
    );
}

/// Every failure has rows, every row a failure, and they stand in order.
pub fn check_whole() {
    let text = std::fs::read_to_string(path()).expect("docs/failure.md");
    let (_, table, _) = parts(&text);
    assert_eq!(table, whole(|failure| rows_of(table, failure)));
    for failure in Failure::ALL {
        assert!(!rows_of(table, failure).is_empty(), "{}", failure.name());
    }
}

fn update(failure: Failure, rows: &[String]) {
    let mut file = File::options()
        .read(true)
        .write(true)
        .open(path())
        .expect("docs/failure.md");
    file.lock().expect("a lock on docs/failure.md");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("UTF-8");
    let (before, table, after) = parts(&text);
    let table = whole(|other| {
        if other == failure {
            rows.to_vec()
        } else {
            rows_of(table, other)
        }
    });
    let text = format!("{before}{table}{after}");
    file.rewind().expect("the beginning");
    file.set_len(0).expect("an empty file");
    file.write_all(text.as_bytes()).expect("the new text");
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/failure.md")
}

/// What stands before the table, the table, and what stands after it.
fn parts(text: &str) -> (&str, &str, &str) {
    let begin = text.find(BEGIN).expect("the marker where the table begins") + BEGIN.len();
    let end = text.find(END).expect("the marker where the table ends");
    (&text[..begin], &text[begin..end], &text[end..])
}

fn rows_of(table: &str, failure: Failure) -> Vec<String> {
    let start = format!("| {} |", failure.name());
    let rows = table.lines().filter(|line| line.starts_with(&start));
    rows.map(ToOwned::to_owned).collect()
}

fn whole(rows: impl Fn(Failure) -> Vec<String>) -> String {
    let mut table = HEADER.to_owned();
    for row in Failure::ALL.into_iter().flat_map(rows) {
        table.push_str(&row);
        table.push('\n');
    }
    table
}
