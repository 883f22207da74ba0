//! `lab report`: renders again, and prints the table. The results themselves stay as they are: a newer lab may have written
//! fields into them that this one does not know and would drop.

use std::path::{Path, PathBuf};

use report::{ReportError, terminal};

use crate::exit::{Exit, Failure};
use crate::output;

/// Renders reports again from a `results.json`: report.html, report.md and junit.xml.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The results to render.
    #[arg(value_name = "RESULTS.json")]
    results: PathBuf,

    /// The folder to write into [default: beside the results].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// `lab report`
pub fn run(args: Args) -> Result<Exit, Failure> {
    let Args { results: path, out } = args;
    let beside = || match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let usage = |error: ReportError| Failure::new(Exit::Usage, error.to_string());
    let results = report::read(&path).map_err(usage)?;
    let out = out.unwrap_or_else(beside);
    report::write_reports(&results, &out).map_err(usage)?;
    let table = terminal::table(&results, terminal::width());
    let report = out.join("report.html");
    let last = terminal::headline(&results, terminal::width());
    output::print(format_args!(
        "{table}\nReport: {}\n\n{last}\n",
        report.display()
    ))?;
    Ok(Exit::Held)
}
