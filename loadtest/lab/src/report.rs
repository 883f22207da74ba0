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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lab_report_renders_again_and_leaves_the_results_alone() {
        let dir = tempfile::tempdir().unwrap();
        report::write_all(&evidence::sample::results(), dir.path()).unwrap();
        let path = dir.path().join("results.json");
        let mut document: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        document["of_a_later_version"] = true.into();
        fs::write(&path, document.to_string()).unwrap();
        fs::remove_file(dir.path().join("report.html")).unwrap();
        assert_eq!(
            run(Args {
                results: path.clone(),
                out: None
            })
            .unwrap(),
            Exit::Held
        );
        assert!(dir.path().join("report.html").exists());
        assert!(
            fs::read_to_string(&path)
                .unwrap()
                .contains("of_a_later_version")
        );

        let elsewhere = dir.path().join("a/b");
        run(Args {
            results: path,
            out: Some(elsewhere.clone()),
        })
        .unwrap();
        assert!(elsewhere.join("report.md").exists());
        assert!(!elsewhere.join("results.json").exists());
    }

    #[test]
    fn what_is_not_results_ends_with_usage_and_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let cases = [
            ("missing.json", None, "reports/latest"),
            ("text.json", Some("hello"), "Probably it is another file"),
            (
                "other.json",
                Some("{\"schema\": \"sessionlab.results/9\"}"),
                "Probably another version of the lab",
            ),
            (
                "half.json",
                Some("{\"schema\": \"sessionlab.results/1\", \"seed\": \"x\"}"),
                "line 1 column",
            ),
        ];
        for (name, contents, hint) in cases {
            let path = dir.path().join(name);
            if let Some(contents) = contents {
                fs::write(&path, contents).unwrap();
            }
            let failure = run(Args {
                results: path,
                out: None,
            })
            .unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(hint), "{}", failure.message);
            assert!(failure.message.contains(name), "{}", failure.message);
        }
    }
}
