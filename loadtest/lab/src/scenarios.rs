//! `lab scenarios`: the experiments that come with the lab, built in, so that `lab run kill-node` works wherever one stands.
//! The files in `scenarios/` are the same ones, to be read and changed.

use std::fmt::Write as _;
use std::path::Path;

use evidence::strategy::Table;
use serde::Deserialize;

use crate::exit::{Exit, Failure};
use crate::output;
use crate::scenario::{Scenario, ScenarioError};

macro_rules! scenario {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../scenarios/", $name, ".toml")),
        )
    };
}

const NAMES_A_LINE: usize = 6;
/// From here on a name looks like a typing error of another one (1 = the same).
const ALIKE: f64 = 0.85;

/// Name and text of each, by name.
const ALL: &[(&str, &str)] = &[
    scenario!("balancer-restart"),
    scenario!("chaos"),
    scenario!("chaos-short"),
    scenario!("closed-loop"),
    scenario!("demo"),
    scenario!("drain-node"),
    scenario!("flapping-node"),
    scenario!("kill-node"),
    scenario!("login-storm"),
    scenario!("logout-and-return"),
    scenario!("memory"),
    scenario!("partition-node"),
    scenario!("partition-store"),
    scenario!("pause-node"),
    scenario!("revoke"),
    scenario!("rolling-restart"),
    scenario!("scale-out"),
    scenario!("scale-out-work"),
    scenario!("scale-up-down"),
    scenario!("slow-node"),
    scenario!("steady"),
    scenario!("stop-node"),
    scenario!("store-kill"),
    scenario!("store-pause"),
];

/// Name and question of each. Needs no node: whether a scenario makes sense for one is a matter of its run.
pub(crate) fn questions() -> Result<Vec<(&'static str, String)>, Failure> {
    #[derive(Deserialize)]
    struct Asks {
        question: String,
    }
    let question = |(name, text): &(&'static str, &str)| {
        let asks: Asks = toml::from_str(text)
            .map_err(|error| Failure::new(Exit::Usage, format!("{name}: {error}")))?;
        Ok((*name, asks.question))
    };
    ALL.iter().map(question).collect()
}

/// List the scenarios that come with the lab, each with the question that it answers.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// `lab scenarios`
pub fn run(_: &Args) -> Result<Exit, Failure> {
    let mut list = String::new();
    for (name, question) in questions()? {
        let _ = writeln!(list, "{name}\n    {question}");
    }
    list += "\nTo perform one: lab run NAME. The files are in scenarios/; a changed copy is run by its path.\n";
    output::print(list)?;
    Ok(Exit::Held)
}

/// What `lab run` says when nobody told it what to run.
pub(crate) fn none_given() -> Failure {
    let names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    let lines: Vec<String> = names
        .chunks(NAMES_A_LINE)
        .map(|names| names.join("  "))
        .collect();
    Failure::new(
        Exit::Usage,
        format!(
            "which scenario? Give the name of one that comes with the lab, or the path of a file:\n    {}\nFor example: lab run \
             kill-node. `lab scenarios` lists them with the question that each answers.",
            lines.join("\n    ")
        ),
    )
}

/// A scenario by the path of its file, or by its name where no file is there.
pub(crate) fn find(path: &Path, table: &Table) -> Result<Scenario, ScenarioError> {
    let known = ALL.iter().find(|(name, _)| Path::new(name) == path);
    match known {
        Some((name, text)) if !path.is_file() => built_in(name, text, table),
        None if !path.exists() => Err(ScenarioError::Unknown {
            path: path.to_path_buf(),
            hint: near(path).map_or_else(String::new, |name| format!("Did you mean `{name}`? ")),
        }),
        _ => Scenario::read(path, table),
    }
}

/// The name that was probably meant: a typing error, an ending too much, or the file of a name in another folder.
fn near(path: &Path) -> Option<&'static str> {
    let typed = path.file_stem()?.to_string_lossy();
    let names = ALL
        .iter()
        .map(|(name, _)| (strsim::jaro_winkler(&typed, name), *name));
    let (likeness, name) = names.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (likeness > ALIKE).then_some(name)
}

fn built_in(name: &str, text: &str, table: &Table) -> Result<Scenario, ScenarioError> {
    Scenario::parse(Path::new(&format!("scenarios/{name}.toml")), text, table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::sample::table;

    #[test]
    fn every_file_is_built_in_and_good() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                path.file_stem().unwrap().to_string_lossy().into_owned()
            })
            .collect();
        files.sort();
        let names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, files);
        for (name, text) in ALL {
            let scenario = built_in(name, text, &table()).unwrap();
            assert_eq!(scenario.name, *name);
            assert!(scenario.spec.question.ends_with('?'), "{name}");
        }
    }

    #[test]
    fn a_name_is_found_and_a_wrong_one_is_told_where_to_look() {
        assert_eq!(
            find(Path::new("kill-node"), &table()).unwrap().name,
            "kill-node"
        );
        let error = find(Path::new("kill-nodes"), &table())
            .unwrap_err()
            .to_string();
        assert!(error.contains("`lab scenarios` lists"), "{error}");
    }

    #[test]
    fn what_was_probably_meant_is_suggested() {
        for (typed, meant) in [
            ("kill-nodes", Some("kill-node")),
            ("kilnode", Some("kill-node")),
            ("pause_node", Some("pause-node")),
            ("chaso", Some("chaos")),
            ("storekill", Some("store-kill")),
            ("elsewhere/kill-node.toml", Some("kill-node")),
            ("scaleout", Some("scale-out")),
            ("my-experiment", None),
            ("xyz", None),
            ("", None),
        ] {
            let error = find(Path::new(typed), &table()).unwrap_err().to_string();
            let suggested = meant.map(|name| format!("Did you mean `{name}`? "));
            match suggested {
                Some(hint) => assert!(error.contains(&hint), "{typed}: {error}"),
                None => assert!(!error.contains("Did you mean"), "{typed}: {error}"),
            }
        }
    }

    #[test]
    fn a_folder_is_told_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let error = find(folder.path(), &table()).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the scenario"), "{error}");
    }
}
