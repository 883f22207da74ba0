//! `lab run --on compose`: the same command, inside the load test's container.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::Args;
use crate::compose::{Compose, DEPLOYMENT};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::signals::Signals;

/// Where scenario files of the host appear in the container.
const SCENARIOS: &str = "/scenarios";

/// Performs the scenarios there. Its exit code is ours.
pub(super) async fn run(args: &Args) -> Result<Exit, Failure> {
    if args.options.out.is_some() {
        return Err(Failure::new(
            Exit::Usage,
            "--out with --on compose: reports go into the folder reports beside docker-compose.yml",
        ));
    }
    if args.options.shop.is_some() {
        return Err(Failure::new(
            Exit::Usage,
            "--shop with --on compose: the nodes are what their image contains; put your program into an image of your own",
        ));
    }
    let mut signals = Signals::listen()?;
    let compose = Compose::find().await?;
    let reports = compose.root().join("reports");
    let failed = |error: std::io::Error| {
        let what = format!("cannot use the folder {}: {error}", reports.display());
        Failure::new(Exit::Usage, what)
    };
    // Made by us, or the engine would make it as root; what is written there belongs to its owner.
    fs::create_dir_all(&reports).map_err(failed)?;
    let mut command: Vec<OsString> = ["run", "--rm"].map(Into::into).to_vec();
    let mut inside: Vec<OsString> = vec!["run".into()];
    for file in &args.files {
        if !file.is_file() {
            // One that comes with the lab; or a mistake, and the container says so.
            inside.push(file.into());
            continue;
        }
        let (mount, name) = mounted(file).map_err(failed)?;
        command.extend(["-v".into(), mount]);
        inside.push(name);
    }
    command.push("loadtest".into());
    command.extend(inside);
    command.extend(["--on".into(), DEPLOYMENT.into()]);
    command.extend(
        args.options
            .changes()
            .split_whitespace()
            .map(OsString::from),
    );
    if !args.options.node_flags.is_empty() {
        command.push("--".into());
        command.extend(args.options.node_flags.iter().map(OsString::from));
    }
    let Some(status) = compose.run_in_order(command, &mut signals).await? else {
        return Err(Failure::new(
            Exit::Interrupted,
            "ended at once; the containers may not be as they were: `docker-compose restart` puts them back",
        ));
    };
    output::print(format_args!("Reports are in {}\n", reports.display()))?;
    Ok(exit(status.code()))
}

/// A file of the host for the container: the volume, and its name there.
fn mounted(file: &Path) -> std::io::Result<(OsString, OsString)> {
    let path = file.canonicalize()?;
    let name = Path::new(SCENARIOS).join(path.file_name().unwrap_or_default());
    let mut mount = path.into_os_string();
    mount.push(":");
    mount.push(&name);
    mount.push(":ro");
    Ok((mount, name.into_os_string()))
}

/// What the lab in the container ended with.
fn exit(code: Option<i32>) -> Exit {
    match code {
        Some(0) => Exit::Held,
        Some(1) => Exit::ExpectationFailed,
        Some(2) => Exit::Usage,
        Some(3) => Exit::Invalid,
        Some(130) | None => Exit::Interrupted,
        Some(_) => Exit::NoCluster,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_host_is_mounted_read_only_under_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.toml");
        fs::write(&file, "").unwrap();
        let (mount, name) = mounted(&file).unwrap();
        assert_eq!(name, "/scenarios/mine.toml");
        assert!(
            mount
                .to_string_lossy()
                .ends_with("/mine.toml:/scenarios/mine.toml:ro")
        );
    }
}
