//! Imports go one way, and what is called pure is pure: from the manifests and from the `use` lines.

#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a crate links, without what only its tests need.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let linked = manifest.get("dependencies").and_then(toml::Value::as_table);
    linked
        .into_iter()
        .flat_map(|table| table.keys().cloned())
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The part of a file that is no test.
fn production(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text[..end].to_owned()
}

#[test]
fn nobody_imports_upwards() {
    let upwards: [(&str, &[&str]); 7] = [
        (
            "loadtest/evidence",
            &["report", "cluster", "lab", "session", "shop", "agent"],
        ),
        (
            "loadtest/report",
            &["cluster", "lab", "session", "shop", "agent"],
        ),
        ("loadtest/cluster", &["report", "lab", "session", "shop"]),
        ("loadtest/lab", &["session", "shop"]),
        ("services/session", &["shop", "axum", "hyper", "http"]),
        ("services/shop", &["evidence", "report", "cluster", "lab"]),
        (
            "load-balancer",
            &["session", "shop", "evidence", "report", "cluster", "lab"],
        ),
    ];
    for (folder, forbidden) in upwards {
        let linked = dependencies(folder);
        let wrong: Vec<_> = forbidden
            .iter()
            .filter(|name| linked.contains(**name))
            .collect();
        assert!(wrong.is_empty(), "{folder} links {wrong:?}");
    }
}

#[test]
fn evidence_and_report_know_no_process_no_network_and_no_clock() {
    let heavy = [
        "tokio",
        "reqwest",
        "goose",
        "rustix",
        "hyper",
        "futures-util",
    ];
    let impure = [
        "std::process",
        "std::net",
        "std::thread",
        "async fn",
        "Instant::now",
        "SystemTime::now",
        "Utc::now",
    ];
    for folder in ["loadtest/evidence", "loadtest/report"] {
        let linked = dependencies(folder);
        let wrong: Vec<_> = heavy
            .iter()
            .filter(|name| linked.contains(**name))
            .collect();
        assert!(wrong.is_empty(), "{folder} links {wrong:?}");
        let mut files = Vec::new();
        sources(&root().join(folder).join("src"), &mut files);
        assert!(!files.is_empty());
        for file in files {
            let text = production(&file);
            let found: Vec<_> = impure.iter().filter(|word| text.contains(**word)).collect();
            assert!(found.is_empty(), "{}: {found:?}", file.display());
        }
    }
}
