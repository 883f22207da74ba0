//! `lab scenarios`: the experiments that come with the lab, built in, so that `lab run kill-node` works wherever one stands.
//! The files in `scenarios/` are the same ones, to be read and changed.

use std::path::Path;

use crate::exit::{Exit, Failure};
use crate::scenario::{Scenario, ScenarioError};

macro_rules! scenario {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../scenarios/", $name, ".toml")),
        )
    };
}

/// Name and text of each, by name.
const ALL: &[(&str, &str)] = &[
    scenario!("balancer-restart"),
    scenario!("chaos"),
    scenario!("closed-loop"),
    scenario!("demo"),
    scenario!("drain-node"),
    scenario!("flapping-node"),
    scenario!("kill-node"),
    scenario!("login-storm"),
    scenario!("logout-and-return"),
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

/// List the scenarios that come with the lab, each with the question that it answers.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// `lab scenarios`
pub fn run(_: &Args) -> Result<Exit, Failure> {
    for (name, text) in ALL {
        let scenario = built_in(name, text)?;
        println!("{name}\n    {}", scenario.spec.question);
    }
    println!(
        "\nTo perform one: lab run NAME. The files are in scenarios/; a changed copy is run by its path."
    );
    Ok(Exit::Held)
}

/// A scenario by the path of its file, or by its name where no file is there.
pub(crate) fn find(path: &Path) -> Result<Scenario, ScenarioError> {
    let known = ALL.iter().find(|(name, _)| Path::new(name) == path);
    match known {
        Some((name, text)) if !path.is_file() => built_in(name, text),
        _ => Scenario::read(path),
    }
}

fn built_in(name: &str, text: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse(Path::new(&format!("scenarios/{name}.toml")), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_built_in_and_good() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
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
            let scenario = built_in(name, text).unwrap();
            assert_eq!(scenario.name, *name);
            assert!(scenario.spec.question.ends_with('?'), "{name}");
        }
    }

    #[test]
    fn a_name_is_found_and_a_wrong_one_is_told_where_to_look() {
        assert_eq!(find(Path::new("kill-node")).unwrap().name, "kill-node");
        let error = find(Path::new("kill-nodes")).unwrap_err().to_string();
        assert!(error.contains("`lab scenarios` lists"), "{error}");
    }
}
