//! The README is true: every flag, endpoint, scenario and strategy file that there is stands in it, and no flag that is not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The flags that `program arguments --help` lists.
fn flags(program: &str, arguments: &[&str]) -> BTreeSet<String> {
    let help = Command::new(tests::binary(program))
        .args(arguments)
        .arg("--help")
        .output()
        .unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    let flags = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let long = line
            .strip_prefix("-h, ")
            .or(line.strip_prefix("-V, "))
            .unwrap_or(line);
        let name = long.strip_prefix("--")?;
        let end = name.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '-');
        Some(format!("--{}", &name[..end.unwrap_or(name.len())]))
    });
    flags
        .filter(|flag| flag.len() > 2 && flag != "--help" && flag != "--version")
        .collect()
}

#[test]
fn every_flag_has_its_line_and_every_line_its_flag() {
    let readme = readme();
    let mut real = BTreeSet::new();
    for (program, arguments) in [
        ("shop", &[][..]),
        ("load-balancer", &[]),
        ("lab", &["up"]),
        ("lab", &["demo"]),
        ("lab", &["run"]),
        ("lab", &["check"]),
        ("lab", &["report"]),
        ("agent", &["run"]),
        ("lab", &["plan"]),
        ("lab", &["wait"]),
    ] {
        let found = flags(program, arguments);
        assert!(
            !found.is_empty(),
            "no flags found in {program} {arguments:?} --help"
        );
        for flag in &found {
            assert!(
                readme.contains(&format!("`{flag}")),
                "{program} {arguments:?} {flag}"
            );
        }
        real.extend(found);
    }
    let told = readme.lines().filter_map(|line| line.strip_prefix("| `--"));
    for line in told {
        let name = line.split(['`', ' ']).next().unwrap();
        assert!(
            real.contains(&format!("--{name}")),
            "there is no flag --{name}"
        );
    }
}

#[test]
fn every_endpoint_has_its_line() {
    let readme = readme();
    for call in [
        "POST /login",
        "POST /logout",
        "POST /refresh",
        "GET /me",
        "GET /cart",
        "POST /cart/lines",
        "DELETE /cart/lines/{id}",
        "GET /sessions",
        "DELETE /sessions/{id}",
        "POST /admin/users/{user}/revoke",
        "POST /admin/clock",
        "GET /plain",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /nodes",
        "GET /process",
        "GET /process/ended",
        "POST /process/start",
        "POST /process/kill",
        "POST /process/stop",
        "POST /process/pause",
        "POST /process/resume",
        "PUT /links/{name}",
        "DELETE /links/{name}",
        "POST /links/{name}/probe",
    ] {
        assert!(readme.contains(&format!("`{call}")), "{call}");
    }
}

#[test]
fn every_file_that_the_readme_names_is_there() {
    let readme = readme();
    let links = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let mut found = 0;
    for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
        let file = link.split('#').next().unwrap_or(link);
        assert!(root().join(file).exists(), "{link}");
        found += 1;
    }
    assert!(found > 5, "the README links to its files");
    for entry in std::fs::read_dir(root().join("scenarios")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(readme.contains(&name), "{name}");
    }
}
