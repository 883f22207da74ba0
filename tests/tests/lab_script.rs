//! The script `./lab` as somebody meets it on a machine that is set up differently: with programs in PATH that play cargo
//! and another system. Nothing is installed or built.

#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Programs that come before all others in PATH.
struct Impostors(TempDir);

impl Impostors {
    fn new(programs: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, text) in programs {
            write_program(&folder.path().join(name), text);
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn lab(&self, args: &[&str]) -> Output {
        let path = std::env::var("PATH").unwrap();
        Command::new(root().join("lab"))
            .args(args)
            .env("PATH", format!("{}:{path}", self.path().display()))
            .env("HERE", self.path())
            .output()
            .unwrap()
    }
}

fn write_program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/usr/bin/env bash\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const SENTENCE: &str = "The lab needs Linux: its cluster is a set of processes on loopback. Elsewhere, run the same cluster in \
                        containers (docs/containers.md).";

#[test]
fn another_system_is_told_what_works_there_before_anything_is_installed_or_built() {
    let busy = r#"touch "$HERE/busy""#;
    for system in ["Darwin", "MINGW64_NT-10.0-22631"] {
        let uname = format!("echo {system}");
        let impostors = Impostors::new(&[
            ("uname", &uname),
            ("cargo", busy),
            ("apt-get", busy),
            ("sudo", busy),
        ]);
        for args in [&[][..], &["demo"], &["test"], &["bench"], &["run", "chaos"]] {
            let output = impostors.lab(args);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(4), "{args:?}: {said}");
            assert!(said.starts_with(&format!("lab: this system is {system}.")));
            assert!(said.contains(SENTENCE), "{said}");
            assert!(said.contains("docker compose up -d"), "{said}");
            assert!(output.stdout.is_empty());
        }
        assert!(!impostors.path().join("busy").exists());
    }
}

/// Those on which all other crates rest, so that cargo meets them first.
#[test]
fn plain_cargo_says_the_same() {
    for file in [
        "services/session/src/lib.rs",
        "deploy/agent/src/lib.rs",
        "deploy/listen/src/lib.rs",
        "load-balancer/src/lib.rs",
    ] {
        let code = fs::read_to_string(root().join(file)).unwrap();
        let error =
            format!("#[cfg(not(target_os = \"linux\"))]\ncompile_error!(\n    \"{SENTENCE}\"\n);");
        assert!(code.contains(&error), "{file} lacks:\n{error}");
    }
}

/// A cargo that builds into a folder of its own, whose name is as awkward in JSON as a name can be.
const CARGO: &str = r#"
case " $* " in *" --message-format=json"*) ;; *) exit 0 ;; esac
for program in shop lab bench lab-of-somebody-else; do
    escaped=${HERE//\\/\\\\}/else\\\"where/x86_64/release/$program
    echo '{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"'$program'"},"filenames":["/x.rlib"],"executable":null,"fresh":true}'
    echo '{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"'$program'"},"filenames":["'$escaped'"],"executable":"'$escaped'","fresh":true}'
done
echo '{"reason":"build-finished","success":true}'
"#;

#[test]
fn programs_are_where_cargo_says_that_it_put_them() {
    let impostors = Impostors::new(&[("cargo", CARGO)]);
    let folder = impostors.path().join("else\"where/x86_64/release");
    for program in ["shop", "lab", "bench", "lab-of-somebody-else"] {
        write_program(&folder.join(program), &format!("echo '{program}:' \"$@\""));
    }
    for (args, said) in [
        (&["scenarios"][..], "lab: scenarios\n"),
        (&["run", "a b"], "lab: run a b\n"),
        (&["bench", "--rounds", "1"], "bench: --rounds 1\n"),
    ] {
        let output = impostors.lab(args);
        assert_eq!(text(&output.stdout), said, "{}", text(&output.stderr));
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn a_failed_build_ends_the_script_and_what_was_built_before_is_not_run() {
    let impostors = Impostors::new(&[("cargo", &format!("{CARGO}\nexit 101"))]);
    let folder = impostors.path().join("else\"where/x86_64/release");
    for program in ["lab", "bench"] {
        write_program(&folder.join(program), "echo old");
    }
    for args in [&["demo"][..], &["bench"]] {
        let output = impostors.lab(args);
        assert_eq!(text(&output.stdout), "");
        assert_eq!(output.status.code(), Some(101));
    }
}

#[test]
fn a_cargo_that_names_no_program_is_told_apart_from_a_lab_that_fails() {
    let impostors = Impostors::new(&[("cargo", "exit 0")]);
    let output = impostors.lab(&["demo"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(
        said.contains("did not say where the program lab is"),
        "{said}"
    );
}
