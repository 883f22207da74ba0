//! Rules that every Compose file, overlay and stack keeps, a new one as well: read from the files, no engine is needed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::compose::{chosen, program, root};

const BASE: &str = "docker-compose.yml";
/// The end of the name of an overlay that takes CPU limits away.
const NO_LIMITS: &str = "no-cpu-limits.yml";
/// What every network of containers or pods has addresses of: private ones, unique local ones, link-local ones.
const PRIVATE: [&str; 5] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fd00::/8",
    "fe80::/10",
];

/// A file, by its path in the repository.
struct File {
    name: String,
    content: Value,
}

impl File {
    fn read(name: &str) -> Self {
        let text = fs::read_to_string(root().join(name)).unwrap();
        Self {
            name: name.to_owned(),
            content: serde_saphyr::from_str(&text)
                .unwrap_or_else(|error| panic!("{name}: {error}")),
        }
    }

    fn services(&self) -> impl Iterator<Item = (&str, &Value)> {
        let all = self.content["services"].as_object().into_iter().flatten();
        all.map(|(name, service)| (name.as_str(), service))
    }

    /// Of a service that has one, its CPU limit.
    fn cpu_limits(&self) -> BTreeMap<&str, f64> {
        let limit = |service: &Value| {
            let cpus = service["deploy"]["resources"]["limits"]["cpus"].as_str()?;
            Some(chosen(cpus).parse::<f64>().unwrap())
        };
        self.services()
            .filter_map(|(name, service)| Some((name, limit(service)?)))
            .collect()
    }
}

/// The `.yml` files right in a folder.
fn yml_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names
        .filter(|name| Path::new(name).extension().is_some_and(|it| it == "yml"))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    names.sort();
    names
}

fn overlays() -> Vec<File> {
    let names = yml_in("deploy/compose");
    assert!(names.len() >= 4, "{names:?}");
    names.iter().map(|name| File::read(name)).collect()
}

/// For Compose: the base and what may lie over it.
fn compose() -> Vec<File> {
    [File::read(BASE)].into_iter().chain(overlays()).collect()
}

/// Those, and the stacks of Swarm.
fn all() -> Vec<File> {
    let stacks = yml_in("deploy/swarm");
    assert!(!stacks.is_empty());
    let stacks = stacks.iter().map(|name| File::read(name));
    compose().into_iter().chain(stacks).collect()
}

/// Every text of the repository that says how something is deployed.
fn texts() -> Vec<(String, String)> {
    let listed = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .args(["docker-compose.yml", "deploy", "lab"])
        .output()
        .unwrap();
    assert!(listed.status.success());
    let names = String::from_utf8(listed.stdout).unwrap();
    let texts = names.lines().filter(|name| {
        let ends = Path::new(name).extension().and_then(|it| it.to_str());
        ends.is_none_or(|ends| ["yml", "yaml", "toml"].contains(&ends))
    });
    let texts: Vec<_> = texts
        .filter_map(|name| Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?)))
        .collect();
    assert!(texts.len() > 20);
    texts
}

/// What a mount of the host's file system lacks, if anything. A volume with a name belongs to the engine, which labels it.
fn lacking(volume: &Value) -> Option<String> {
    let Some(text) = volume.as_str() else {
        return Some(format!(
            "{volume}: docker-compose 1.29 knows `selinux` in no long form; write SOURCE:TARGET:ro,z"
        ));
    };
    let text = chosen(text);
    let parts: Vec<&str> = text.split(':').collect();
    let is_bind = parts[0].starts_with(['.', '/', '~']);
    let options = parts.get(2).copied().unwrap_or_default();
    (is_bind && !options.split(',').any(|it| it == "z")).then(|| format!("{text} has no z"))
}

#[test]
fn what_is_mounted_can_be_read_under_selinux() {
    for (wrong, right) in [
        ("./a:/b", "./a:/b:z"),
        ("./a:/b:ro", "./a:/b:ro,z"),
        ("${FOLDER:-./a}:/b:ro", "${FOLDER:-./a}:/b:z"),
        // A label of one container alone would keep the others out.
        ("/a:/b:Z", "named:/b:ro"),
    ] {
        assert!(lacking(&wrong.into()).is_some(), "{wrong}");
        assert_eq!(lacking(&right.into()), None);
    }
    let mut mounts = 0;
    for file in all() {
        for (service, content) in file.services() {
            for volume in content["volumes"].as_array().into_iter().flatten() {
                assert_eq!(lacking(volume), None, "{}: {service}", file.name);
                mounts += 1;
            }
        }
    }
    assert!(mounts > 10);
    // The same for scripts.
    for (name, text) in texts() {
        for words in text.split_whitespace().collect::<Vec<_>>().windows(2) {
            if ["--volume", "-v"].contains(&words[0]) && words[1].contains(":/") {
                let mount = words[1].trim_matches('"').replace('$', "/");
                assert_eq!(lacking(&mount.into()), None, "{name}");
            }
            assert_ne!(words[0], "--mount", "{name}: knows no z");
        }
    }
}

/// Services with images of ours: file, service, image, whether it builds it.
fn ours(files: &[File]) -> Vec<(&str, &str, &str, bool)> {
    let services = files.iter().flat_map(|file| {
        file.services().filter_map(|(name, service)| {
            let image = service["image"].as_str()?;
            let builds = service.get("build").is_some();
            (builds || image.starts_with("${IMAGE_PREFIX")).then_some((
                &*file.name,
                name,
                image,
                builds,
            ))
        })
    });
    services.collect()
}

#[test]
fn one_service_builds_each_image() {
    let files = compose();
    let mut builders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (_, service, image, builds) in ours(&files) {
        let known = builders.entry(image).or_default();
        known.extend(builds.then_some(service));
    }
    assert!(builders.len() >= 4, "{builders:?}");
    for (image, services) in builders {
        assert_eq!(services.len(), 1, "{image} is built by {services:?}");
    }
}

#[test]
fn no_image_of_ours_is_asked_of_a_registry() {
    let files = compose();
    let ours = ours(&files);
    assert!(ours.len() > 10);
    for file in &files {
        for (name, service) in file.services().filter(|(_, it)| it.get("image").is_some()) {
            let is_ours = ours.iter().any(|one| (one.0, one.1) == (&*file.name, name));
            let policy = is_ours.then_some("never");
            assert_eq!(
                service["pull_policy"].as_str(),
                policy,
                "{}: {name}",
                file.name
            );
        }
    }
}

/// Cargo wants the manifest of every member, also of those of which nothing is built.
#[test]
fn images_get_the_manifest_of_every_member() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    let (recipe, ignored) = (read("deploy/images/Dockerfile"), read(".dockerignore"));
    for member in workspace["workspace"]["members"].as_array().unwrap() {
        let member = member.as_str().unwrap();
        let copy = format!("COPY {member}/Cargo.toml {member}/");
        assert!(recipe.lines().any(|line| line == copy), "no {copy}");
        let is_let_in = |line: &str| {
            let allowed = line.strip_prefix('!');
            allowed.is_some_and(|path| format!("{member}/Cargo.toml").starts_with(path))
        };
        assert!(ignored.lines().any(is_let_in), "{member} is not let in");
    }
}

#[test]
fn every_cpu_limit_can_be_taken_away() {
    let files = compose();
    let (without, with): (Vec<_>, Vec<_>) = files
        .iter()
        .partition(|file| file.name.ends_with(NO_LIMITS));
    for file in with.iter().filter(|file| !file.cpu_limits().is_empty()) {
        // `docker-compose.yml` has `no-cpu-limits.yml`, `ha.yml` has `ha-no-cpu-limits.yml`.
        let stem = Path::new(&file.name).file_stem().unwrap().to_str().unwrap();
        let name = match &*file.name {
            BASE => format!("deploy/compose/{NO_LIMITS}"),
            _ => format!("deploy/compose/{stem}-{NO_LIMITS}"),
        };
        let other = without.iter().find(|file| file.name == name);
        let taken =
            other.unwrap_or_else(|| panic!("{} has limits, and there is no {name}", file.name));
        let limited: BTreeSet<_> = file.cpu_limits().into_keys().collect();
        let free: BTreeSet<_> = taken.cpu_limits().into_keys().collect();
        // Less would leave a limit; more would be a service without an image.
        assert_eq!(limited, free, "{name}");
        assert!(taken.cpu_limits().values().all(|limit| *limit == 0.0));
    }
}

#[test]
fn ports_are_open_to_both_families() {
    let mut opened = 0;
    for (name, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            let place = format!("{name}, line {}: {line}", number + 1);
            // As a whole word: 10.0.0.0/8 ends in the same characters.
            let words = line.split(|c: char| !c.is_ascii_digit() && c != '.');
            let is_comment = line.trim_start().starts_with('#');
            assert!(
                is_comment || !words.into_iter().any(|it| it == "0.0.0.0"),
                "{place}"
            );
            opened += line.matches("[::]:").count();
            if line.contains("192.168.0.0/16") {
                let lacks = PRIVATE.into_iter().find(|range| !line.contains(range));
                assert_eq!(lacks, None, "{place}");
            }
        }
    }
    assert!(opened > 15, "{opened}");
    for file in all() {
        for (service, content) in file.services() {
            let environment = &content["environment"];
            if let Some(listen) = environment["SHOP_LISTEN"].as_str() {
                let is_open = listen.starts_with("[::]:") || listen.starts_with("127.0.0.1:");
                assert!(is_open, "{}: {service} listens at {listen}", file.name);
            }
            let trusted = environment["SHOP_TRUSTED_BALANCERS"].as_str();
            for range in trusted.map(|_| PRIVATE).into_iter().flatten() {
                let trusted: Vec<_> = trusted.unwrap_or_default().split(',').collect();
                assert!(trusted.contains(&range), "{}: {service}", file.name);
            }
        }
    }
}

/// Compose over these files, with all profiles; what it printed.
fn config(compose: &[&str], files: &[&str], more: &[&str]) -> String {
    let mut command = Command::new(compose[0]);
    command.args(&compose[1..]).current_dir(root());
    for file in files {
        command.args(["-f", file]);
    }
    command.args(["--profile", "loadtest", "--profile", "observe", "config"]);
    let output = command.args(more).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{files:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_combination_of_files_and_profiles_is_valid() {
    let Some(compose) = program() else {
        println!("SKIPPED: there is neither docker-compose nor the Compose plugin");
        return;
    };
    config(compose, &[BASE], &["-q"]);
    let overlays = overlays();
    for overlay in &overlays {
        // One that belongs to another comes with it.
        let of = overlay.name.strip_suffix(&format!("-{NO_LIMITS}"));
        let of = of.map(|stem| format!("{stem}.yml"));
        let files: Vec<&str> = [BASE]
            .into_iter()
            .chain(of.as_deref())
            .chain([&*overlay.name])
            .collect();
        config(compose, &files, &["-q"]);
    }
    // What takes limits away comes last.
    let (last, first): (Vec<_>, Vec<_>) = overlays
        .iter()
        .partition(|file| file.name.ends_with(NO_LIMITS));
    let names = first.iter().chain(&last).map(|file| &*file.name);
    let everything: Vec<&str> = [BASE].into_iter().chain(names).collect();
    let merged: Value = serde_saphyr::from_str(&config(compose, &everything, &[])).unwrap();
    for (name, service) in merged["services"].as_object().unwrap() {
        let limits = &service["deploy"]["resources"]["limits"];
        let cpus = limits["cpus"].as_f64();
        let cpus = cpus.or_else(|| limits["cpus"].as_str()?.parse().ok());
        assert!(cpus.is_none_or(|cpus| cpus == 0.0), "{name}: {limits}");
        assert!(
            !limits["memory"].is_null(),
            "{name} keeps its limit of memory"
        );
    }
}
