//! Results to reports: a table for the terminal, one HTML page, one Markdown page. Everything is computed from
//! `results.json` alone, so any report can be rendered again later, elsewhere.
//!
//! # Layout, in the direction in which data flows
//! * `table`, `fault`: runs grouped by strategy, faults found again in every run.
//! * `key_figures`: the few figures that decide, with the best and the worst of each.
//! * `comparison`, `failover`: all other figures, which stands in which row; `pairs`: strategies against each other; `theory`: what was
//!   expected; `summary`: what they say, in sentences; `format`: how numbers look.
//! * `scale_out`: throughput by nodes, where there are several sizes of cluster.
//! * `document`: all of that put together, once.
//! * `html` (with `chart`), `markdown`, [`terminal`]: lay the document out. `junit`: the expectations alone, for CI.
//!
//! The verdict is shown and decides nothing here.

mod chart;
mod comparison;
mod document;
mod failover;
mod fault;
mod html;
mod junit;
mod key_figures;
mod markdown;
mod pairs;
pub mod plan;
pub mod proof;
mod scale_out;
mod summary;
mod table;
pub mod terminal;
mod theory;

#[cfg(test)]
mod schema_test;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::document::Document;
use evidence::results::{Results, SCHEMA};

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The results cannot be read.
    #[error(
        "cannot read {path}: {source}\nA run writes its results to reports/<time>/results.json; reports/latest points at the last one."
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not JSON, or not results.
    #[error(
        "{path} does not hold results: {source}\nProbably it is another file, or it was cut off or changed by hand. Give the results.json of a run."
    )]
    NotResults {
        /// The file.
        path: PathBuf,
        /// Where, and what was expected there.
        source: serde_json::Error,
    },
    /// Results, but of another schema.
    #[error(
        "{path} has the schema “{found}”, and this program reads “{SCHEMA}”.\nProbably another version of the lab wrote it. Render it with that version, or measure again."
    )]
    OtherSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: String,
    },
    /// The template failed.
    #[error("cannot render {file}: {source}")]
    Render {
        /// The report.
        file: &'static str,
        /// Why.
        source: askama::Error,
    },
    /// The results do not serialise.
    #[error("cannot write the results as JSON: {0}")]
    Serialise(serde_json::Error),
    /// A report cannot be written.
    #[error(
        "cannot write {path}: {source}\nIs the folder writable, and is there room on the disk? Another folder can be given with --out."
    )]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What [`write_all`] writes, and what each file holds.
pub const FILES: [(&str, &str); 4] = [
    (
        "results.json",
        "everything measured; the reports are rendered from it alone",
    ),
    (
        "report.html",
        "the report, for people; one file that needs no network",
    ),
    ("report.md", "the same as text"),
    ("junit.xml", "the expectations, for CI systems"),
];

/// Writes `results.json`, `report.html`, `report.md` and `junit.xml` into `dir`, which is created if it is missing.
pub fn write_all(results: &Results, dir: &Path) -> Result<(), ReportError> {
    let mut json = serde_json::to_string_pretty(results).map_err(ReportError::Serialise)?;
    json.push('\n');
    write(dir, "results.json", &json)?;
    write_reports(results, dir)
}

/// Reads and judges a `results.json`.
pub fn read(path: &Path) -> Result<Results, ReportError> {
    /// The one field that says whether the others can be understood.
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    let not_results = |source| ReportError::NotResults {
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(|source| ReportError::Read {
        path: path.to_owned(),
        source,
    })?;
    let head: Head = serde_json::from_str(&text).map_err(not_results)?;
    if head.schema != SCHEMA {
        return Err(ReportError::OtherSchema {
            path: path.to_owned(),
            found: head.schema,
        });
    }
    serde_json::from_str(&text).map_err(not_results)
}

/// Writes `report.html`, `report.md` and `junit.xml` into `dir`.
pub fn write_reports(results: &Results, dir: &Path) -> Result<(), ReportError> {
    let document = Document::of(results);
    let html = html::render(&document, results).map_err(|source| ReportError::Render {
        file: "report.html",
        source,
    })?;
    write(dir, "report.html", &html)?;
    write(dir, "report.md", &markdown::render(&document))?;
    write(dir, "junit.xml", &junit::render(results))
}

/// All or nothing: a reader finds the old file or the new one, never half of it.
fn write(dir: &Path, name: &str, text: &str) -> Result<(), ReportError> {
    let path = dir.join(name);
    let failed = |source| ReportError::Write {
        path: path.clone(),
        source,
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut file = tempfile::Builder::new()
        .prefix(name)
        .permissions(readable_by_all())
        .tempfile_in(dir)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.persist(&path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Temporary files are private by default; a report is made to be shown (the umask still applies).
fn readable_by_all() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::Permissions::from_mode(0o644)
}
