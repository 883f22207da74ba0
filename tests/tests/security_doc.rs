//! `docs/security.md` is true: every test that it names is there, and no row of the standards' chapters is missing.

#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn doc() -> String {
    std::fs::read_to_string(root().join("docs/security.md")).unwrap()
}

/// Every Rust file below `folder` but what was built.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names of functions in files that hold tests.
fn functions() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["services", "tests", "loadtest", "load-balancer"] {
        sources(&root().join(folder), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        if text.contains("#[test]")
            || text.contains("::test")
            // The suite that judges every strategy is no test by itself; tests run it.
            || file.starts_with(root().join("services/conformance"))
        {
            let rest = text.split("fn ").skip(1);
            let name = |rest: &str| rest.split(['(', '<']).next().unwrap_or("").to_owned();
            names.extend(rest.map(name));
        }
    }
    names
}

/// The words of a table's last column that are in backquotes: tests.
fn named() -> Vec<String> {
    let doc = doc();
    let rows = doc
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    let last = rows.filter_map(|row| {
        row.trim_end_matches(" |")
            .rsplit_once("| ")
            .map(|pair| pair.1)
    });
    let quoted = last.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    quoted.map(ToOwned::to_owned).collect()
}

#[test]
fn every_test_that_is_named_is_there() {
    let functions = functions();
    let named = named();
    assert!(named.len() > 60, "the document names tests");
    for name in named {
        assert!(functions.contains(&name), "there is no test {name}");
    }
}

#[test]
fn every_item_of_the_chapters_has_its_row() {
    let doc = doc();
    let v7 = [(1, 3), (2, 4), (3, 2), (4, 5), (5, 3)].map(|(section, items)| (7, section, items));
    let v9 = [(1, 3), (2, 4)].map(|(section, items)| (9, section, items));
    for (chapter, section, items) in v7.into_iter().chain(v9) {
        for item in 1..=items {
            let row = format!("| {chapter}.{section}.{item} |");
            assert!(doc.contains(&row), "{row}");
        }
    }
    assert!(doc.contains("| 7.6.1, 7.6.2 |"));
    for section in 1..=12 {
        assert!(
            doc.contains(&format!("| 3.{section} |")),
            "RFC 8725, 3.{section}"
        );
    }
}
