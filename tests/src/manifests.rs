//! The Kubernetes manifests as a cluster would get them: rendered by kustomize, with real secrets, in a temporary folder.
//! Also a small view of what is in them: pods and their containers. What they must say is the business of
//! `tests/kubernetes.rs` and `tests/kubernetes_runs.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The label that tells the pods of one workload from those of another.
pub const NAME: &str = "app.kubernetes.io/name";

/// One overlay, rendered.
pub struct Manifests {
    /// Every object.
    pub objects: Vec<Value>,
    /// What `lab secrets` made.
    pub secrets: PathBuf,
    folder: TempDir,
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a program to its end, and insists that it ends well; what it printed.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("it starts");
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{stderr}");
    String::from_utf8(stdout).expect("text")
}

impl Manifests {
    /// Renders the overlay of `strategy` in a copy of the manifests, so that nobody's real secrets are read.
    pub fn render(strategy: &str) -> Self {
        let source = root().join("deploy/kubernetes");
        let tools = output(&mut Command::new(source.join("tools/install")));
        let folder = TempDir::new().expect("a folder");
        output(
            Command::new("cp")
                .arg("-R")
                .arg(source.join("base"))
                .arg(source.join("overlays"))
                .arg(folder.path()),
        );
        let secrets = folder.path().join("base/secrets");
        if secrets.exists() {
            fs::remove_dir_all(&secrets).expect("secrets of somebody else leave the copy");
        }
        output(
            Command::new(crate::binary("lab"))
                .arg("secrets")
                .arg(&secrets),
        );
        let rendered = output(
            Command::new(Path::new(tools.trim()).join("kubectl"))
                .arg("kustomize")
                .arg(folder.path().join("overlays").join(strategy)),
        );
        let objects = serde_saphyr::from_multiple(&rendered).expect("YAML");
        Self {
            objects,
            secrets,
            folder,
        }
    }

    /// All objects of a kind.
    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        let objects = self.objects.iter();
        objects.filter(|object| object["kind"] == kind).collect()
    }

    /// The one object of a kind with that name, without the hash that kustomize puts behind some.
    #[track_caller]
    pub fn object(&self, kind: &str, name: &str) -> &Value {
        let is_it = |object: &&Value| {
            let full = text(&object["metadata"]["name"]);
            full == name
                || full
                    .rsplit_once('-')
                    .is_some_and(|(start, hash)| start == name && hash.len() == 10)
        };
        let mut found = self.of_kind(kind).into_iter().filter(is_it);
        let first = found.next();
        assert!(found.next().is_none(), "more than one {kind} {name}");
        first.unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    /// Whatever has a pod template.
    pub fn pods(&self) -> Vec<Pod<'_>> {
        let with_template = self.objects.iter().filter_map(|object| {
            let template = object["spec"].get("template")?;
            Some(Pod {
                name: text(&object["metadata"]["name"]),
                object,
                labels: labels(&template["metadata"]["labels"]),
                spec: &template["spec"],
            })
        });
        with_template.collect()
    }

    /// The pods of one workload.
    #[track_caller]
    pub fn pod(&self, name: &str) -> Pod<'_> {
        let mut pods = self.pods().into_iter();
        pods.find(|pod| pod.name == name)
            .unwrap_or_else(|| panic!("no pods {name}"))
    }

    /// Writes a file beside the manifests, for programs to read.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("written");
        path
    }
}

/// The pods of one workload.
pub struct Pod<'a> {
    /// Of the workload.
    pub name: &'a str,
    /// The workload.
    pub object: &'a Value,
    /// Of each pod.
    pub labels: BTreeMap<&'a str, &'a str>,
    /// The pod's own.
    pub spec: &'a Value,
}

impl<'a> Pod<'a> {
    /// The one container.
    #[track_caller]
    pub fn container(&self) -> Container<'a> {
        let all = list(&self.spec["containers"]);
        assert_eq!(all.len(), 1, "containers of {}", self.name);
        assert!(self.spec.get("initContainers").is_none());
        Container(&all[0])
    }

    /// Does a label selector mean these pods?
    pub fn is_selected_by(&self, selector: &Value) -> bool {
        let keys: BTreeSet<_> = selector.as_object().expect("a selector").keys().collect();
        let known = ["matchExpressions", "matchLabels"];
        assert!(
            keys.iter().all(|key| known.contains(&key.as_str())),
            "{selector}"
        );
        let wanted = labels(&selector["matchLabels"]);
        let by_labels = wanted
            .iter()
            .all(|(key, value)| self.labels.get(key) == Some(value));
        let mut expressions = list(&selector["matchExpressions"]).iter();
        by_labels
            && expressions.all(|expression| {
                assert_eq!(
                    expression["operator"], "In",
                    "the only operator that is known here"
                );
                let value = self.labels.get(text(&expression["key"]));
                value.is_some_and(|value| strings(&expression["values"]).contains(value))
            })
    }

    /// The port of the pods that a name or a number means, if they have it.
    pub fn port(&self, wanted: &Value) -> Option<u64> {
        let ports = list(&self.container().0["ports"]).iter();
        let mut ports =
            ports.filter(|port| port["name"] == *wanted || port["containerPort"] == *wanted);
        ports.next().and_then(|port| port["containerPort"].as_u64())
    }

    /// Every port that the pods are said to have.
    pub fn ports(&self) -> BTreeSet<u64> {
        let ports = list(&self.container().0["ports"]).iter();
        ports
            .filter_map(|port| port["containerPort"].as_u64())
            .collect()
    }
}

/// A container.
#[derive(Clone, Copy)]
pub struct Container<'a>(pub &'a Value);

impl<'a> Container<'a> {
    /// What is executed, with all arguments.
    pub fn command_line(&self) -> Vec<&'a str> {
        [strings(&self.0["command"]), strings(&self.0["args"])].concat()
    }

    /// The environment; the path of a field in place of a value that is only known later.
    pub fn environment(&self) -> BTreeMap<&'a str, &'a str> {
        let entries = list(&self.0["env"]).iter().map(|entry| {
            let value = entry
                .get("value")
                .unwrap_or(&entry["valueFrom"]["fieldRef"]["fieldPath"]);
            (text(&entry["name"]), text(value))
        });
        let count = list(&self.0["env"]).len();
        let map: BTreeMap<_, _> = entries.collect();
        assert_eq!(map.len(), count, "a variable is set twice");
        map
    }

    /// Every command that runs in the container: its own, and those of the probes.
    pub fn commands(&self) -> Vec<Vec<&'a str>> {
        let probes = self.probes().into_iter();
        let asked =
            probes.filter_map(|(_, probe)| probe.get("exec").map(|exec| strings(&exec["command"])));
        std::iter::once(self.command_line()).chain(asked).collect()
    }

    /// The probes, by kind.
    pub fn probes(&self) -> Vec<(&'static str, &'a Value)> {
        let kinds = ["startupProbe", "readinessProbe", "livenessProbe"];
        let found = kinds
            .into_iter()
            .filter_map(|kind| Some((kind, self.0.get(kind)?)));
        found.collect()
    }
}

/// What must be a text.
#[track_caller]
pub fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}

/// A list; what is not there is an empty one.
#[track_caller]
pub fn list(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        Value::Array(list) => list,
        other => panic!("{other} is no list"),
    }
}

/// A list of texts.
#[track_caller]
pub fn strings(value: &Value) -> Vec<&str> {
    list(value).iter().map(text).collect()
}

/// Labels; those that are not there are none.
#[track_caller]
pub fn labels(value: &Value) -> BTreeMap<&str, &str> {
    let entries = value.as_object().into_iter().flatten();
    entries
        .map(|(key, value)| (key.as_str(), text(value)))
        .collect()
}
