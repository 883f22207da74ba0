//! The README and `docs/` are true: every flag, endpoint and scenario that there is stands on its page, and no flag that is
//! not; every link leads somewhere; every page is in the index.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A reader of the README is through in five minutes.
const MOST_LINES: usize = 250;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A page, by its path below the root.
fn page<P: AsRef<Path> + ?Sized>(path: &P) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The paths below the root of all pages in this folder.
fn pages_in(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let paths = entries.map(|entry| Path::new(folder).join(entry.unwrap().file_name()));
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

fn all_pages() -> Vec<PathBuf> {
    let folders = [
        "",
        "docs",
        "docs/decisions",
        "deploy/swarm",
        "deploy/kubernetes",
    ];
    folders.into_iter().flat_map(pages_in).collect()
}

/// The part of a page below the heading that has `name` in backquotes or plain, up to the next heading of that level.
fn section<'a>(page: &'a str, name: &str) -> &'a str {
    page.split("\n## ")
        .skip(1)
        .find(|part| {
            part.lines()
                .next()
                .is_some_and(|heading| heading.contains(name))
        })
        .unwrap_or_else(|| panic!("no heading has {name}"))
}

/// The flags that have a row in a table of this text.
fn flags_told(text: &str) -> BTreeSet<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `--"));
    let names = rows.filter_map(|row| row.split(['`', ' ']).next());
    names.map(|name| format!("--{name}")).collect()
}

/// Where the links of this text lead within the repository.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://"))
        .collect()
}

/// The anchors of a page's headings, as GitHub names them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let text = heading.trim_start_matches('#').trim().to_lowercase();
            text.replace(' ', "-").replace(
                |sign: char| !sign.is_alphanumeric() && !"-_".contains(sign),
                "",
            )
        })
        .collect()
}

/// Whatever is generated: flags, strategies, scenarios, exit codes, listeners of the configurations.
#[test]
fn what_is_generated_is_what_would_be_generated_now() {
    let output = Command::new(tests::binary("lab"))
        .args(["generate", "--check", "--root"])
        .arg(root())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

#[test]
fn every_flag_in_a_table_is_one_of_a_program() {
    let reference = page("docs/reference.md");
    let agent = Command::new(tests::binary("agent"))
        .args(["run", "--help"])
        .output()
        .unwrap();
    let real = reference + &String::from_utf8_lossy(&agent.stdout);
    for path in all_pages() {
        for flag in flags_told(&page(&path)) {
            let there = real
                .split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '-')
                .any(|word| word == flag);
            assert!(there, "{}: there is no flag {flag}", path.display());
        }
    }
}

#[test]
fn every_endpoint_has_its_row() {
    let node = [
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
    ];
    let admin = [
        "GET /nodes",
        "PUT /nodes/{name}/state",
        "GET /metrics",
        "GET /healthz",
        "GET /readyz",
    ];
    let agent = [
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
        "GET /healthz",
    ];
    for (path, heading, calls) in [
        ("docs/http.md", "The node", &node[..]),
        ("docs/http.md", "admin port", &admin[..]),
        ("docs/agent.md", "Control port", &agent[..]),
    ] {
        let page = page(path);
        let section = section(&page, heading);
        for call in calls {
            // The whole path, perhaps with its query.
            let has_row = section.lines().any(|line| {
                line.strip_prefix("| `")
                    .and_then(|row| row.strip_prefix(call))
                    .is_some_and(|rest| rest.starts_with(['`', '?']))
            });
            assert!(has_row, "{heading} in {path} lacks {call}");
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    for path in all_pages() {
        let text = page(&path);
        let folder = path.parent().unwrap();
        let from = path.display();
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                folder.join(file)
            };
            assert!(root().join(&target).exists(), "{from}: {link}");
            let is_page = target
                .extension()
                .is_some_and(|extension| extension == "md");
            if is_page && !anchor.is_empty() {
                assert!(
                    anchors(&page(&target)).contains(anchor),
                    "{from}: {link}: no heading is called that"
                );
            }
        }
    }
    assert!(
        links(&page("README.md")).len() > 5,
        "the README links to its files"
    );
}

#[test]
fn every_page_is_in_the_index() {
    let index = page("docs/README.md");
    let links: BTreeSet<_> = links(&index)
        .into_iter()
        .map(|link| Path::new("docs").join(link))
        .collect();
    for path in ["docs", "docs/decisions"].into_iter().flat_map(pages_in) {
        if path != Path::new("docs/README.md") {
            assert!(
                links.contains(&path),
                "docs/README.md lacks {}",
                path.display()
            );
        }
    }
}

#[test]
fn the_tutorial_shows_the_code_that_is_built() {
    let tutorial = page("docs/add-a-strategy.md");
    let code = ["src/lib.rs", "src/main.rs", "tests/conformance.rs"]
        .map(|file| page(&format!("examples/file-strategy/{file}")));
    let shown: Vec<_> = tutorial
        .split("```rust\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(shown.len() > 3, "the tutorial shows code");
    for part in shown {
        assert!(code.iter().any(|file| file.contains(part)), "{part}");
    }
}

#[test]
fn the_readme_is_short() {
    let lines = page("README.md").lines().count();
    assert!(
        lines <= MOST_LINES,
        "the README has {lines} lines; move what not every reader needs to docs/"
    );
}
