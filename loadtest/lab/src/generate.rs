//! `lab generate`: writes what follows from the table of strategies and from the programs themselves, so that nobody writes it
//! a second time. With `--check` it writes nothing and names what differs; `./lab test` does that.
//!
//! Some files are written as a whole (`docs/reference.md`). In others a block between two comments is:
//!
//! ```text
//! # lab generate: listeners
//! …
//! # lab generate: end
//! ```

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use evidence::results::Hit;
use evidence::strategy::{About, Table};
use tokio::process::Command;
use tokio::time::timeout;

use crate::exit::{Exit, Failure};
use crate::{output, scenarios};

/// Begins a block; the block's name follows.
const BEGIN: &str = "# lab generate: ";
/// Ends it.
const END: &str = "# lab generate: end";
/// Files with blocks.
const WITH_BLOCKS: [&str; 5] = [
    "docker-compose.yml",
    "deploy/compose/cluster.toml",
    "deploy/compose/load-balancer.toml",
    "deploy/swarm/load-balancer.toml",
    "deploy/swarm/stack.yml",
];
/// Our programs beside the lab.
const PROGRAMS: [&str; 3] = ["shop", "load-balancer", "agent"];
/// For a program to print its help.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Write what follows from the table of strategies: the reference, and the listeners of the configurations.
///
/// Ends with 0, with 1 when `--check` finds a file that differs, with 2 when this is not the lab's repository.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write nothing; name the files that differ.
    #[arg(long)]
    check: bool,

    /// The repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
}

/// `lab generate`. `commands` are the names of the lab's own commands.
pub async fn run(args: &Args, commands: &[&str]) -> Result<Exit, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let described = help("shop", &["describe"]).await?;
    let table = Table::parse(&described).map_err(|error| usage(error.to_string()))?;
    let mut files = vec![
        ("services/shop/strategies.json".to_owned(), described),
        (
            "docs/reference.md".to_owned(),
            reference(&table, commands).await?,
        ),
    ];
    for name in WITH_BLOCKS {
        let path = args.root.join(name);
        let text = fs::read_to_string(&path).map_err(|error| {
            usage(format!(
                "cannot read {}: {error}. Run it in the folder of the repository, or say where that is with --root",
                path.display()
            ))
        })?;
        let filled = fill(&text, &table).map_err(|why| usage(format!("{name}: {why}")))?;
        files.push((name.to_owned(), filled));
    }
    let mut differ = Vec::new();
    for (name, text) in files {
        let path = args.root.join(&name);
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            continue;
        }
        if !args.check {
            fs::write(&path, text)
                .map_err(|error| usage(format!("cannot write {}: {error}", path.display())))?;
        }
        differ.push(name);
    }
    let list = differ.join("\n");
    match (args.check, differ.is_empty()) {
        (_, true) => output::print("Everything is up to date.\n")?,
        (false, false) => output::print(format_args!("Written:\n{list}\n"))?,
        (true, false) => {
            let message = format!(
                "these files are not what `lab generate` writes; run it and commit them:\n{list}"
            );
            return Err(Failure::new(Exit::ExpectationFailed, message));
        }
    }
    Ok(Exit::Held)
}

/// The text with all of its blocks written anew, indented like their first lines.
fn fill(text: &str, table: &Table) -> Result<String, String> {
    let mut filled = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let _ = writeln!(filled, "{line}");
        let Some((indent, name)) = line.split_once(BEGIN) else {
            continue;
        };
        for row in block(name, table).ok_or_else(|| format!("there is no block `{name}`"))? {
            let row = format!("{indent}{row}");
            let _ = writeln!(filled, "{}", row.trim_end());
        }
        let end = lines.find(|line| line.trim() == END);
        let end = end.ok_or_else(|| format!("the block `{name}` has no end"))?;
        let _ = writeln!(filled, "{end}");
    }
    Ok(filled)
}

/// The lines of a block.
fn block(name: &str, table: &Table) -> Option<Vec<String>> {
    let row = match name {
        "listeners" => |about: &About| {
            let mut listener = format!(
                "[[listeners]]\nstrategy = \"{}\"\naddress = \"[::]:{}\"\n",
                about.name, about.port
            );
            if about.needs_affinity {
                listener +=
                    "affinity = true                            # its sessions live in one node\n";
            }
            listener
        },
        "urls" => {
            |about: &About| format!("{} = \"http://load-balancer:{}\"", about.name, about.port)
        }
        "compose-ports" => |about: &About| {
            let (variable, port) = (port_variable(&about.name), about.port);
            format!("- \"${{BIND:-127.0.0.1}}:${{{variable}:-{port}}}:{port}\"")
        },
        "swarm-ports" => |about: &About| {
            let (variable, port) = (port_variable(&about.name), about.port);
            format!("- {{ target: {port}, published: \"${{{variable}:-{port}}}\", mode: host }}")
        },
        _ => return None,
    };
    let rows: Vec<String> = table.all().iter().map(row).collect();
    let text = rows.join("\n");
    Some(text.trim_end().lines().map(str::to_owned).collect())
}

/// The variable that moves the public port of a strategy in containers.
pub(crate) fn port_variable(strategy: &str) -> String {
    format!("PORT_{}", strategy.to_uppercase().replace('-', "_"))
}

/// `docs/reference.md`.
async fn reference(table: &Table, commands: &[&str]) -> Result<String, Failure> {
    let mut page = String::from(
        "# Reference\n\nWritten by `lab generate` from the table of strategies and from the programs themselves; `./lab test` \
         checks it.\nThe node's [endpoints](http.md) and the [settings of the load balancer's file](balancer.md) have pages of their own.\n",
    );
    page += "\n## Strategies\n\n| name | state lives in | store | affinity | a logout reaches | round trips: login, read, change | port |\n| --- | --- | --- | --- | --- | --- | --- |\n";
    for about in table.all() {
        let trips = &about.round_trips;
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {}, {}, {} | {} |",
            about.name,
            about.state_lives,
            about.store.as_deref().unwrap_or("–"),
            if about.needs_affinity {
                "needed"
            } else {
                "–"
            },
            about.logout.words(),
            trips.login,
            trips.read,
            trips.change,
            about.port
        );
    }
    page += "\n### What theory says\n\nWhat a fault must cost and may cost; of each strategy the first row that fits counts, and what stands in none must not happen.\n";
    for about in table.all() {
        let _ = writeln!(
            page,
            "\n`{}`\n\n| hit | by | must show | may show | why |\n| --- | --- | --- | --- | --- |",
            about.name
        );
        for row in &about.theory {
            let names = |anomalies: &[evidence::results::Anomaly]| {
                let names: Vec<&str> = anomalies.iter().map(|anomaly| anomaly.name()).collect();
                names.join(", ")
            };
            let by = match row.hit {
                Hit::Nothing | Hit::Revocation => "–".to_owned(),
                _ if row.faults.is_empty() => "any fault".to_owned(),
                _ => row.faults.join(", "),
            };
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} |",
                row.hit.words(),
                by,
                names(&row.predicted),
                names(&row.tolerated),
                row.why
            );
        }
    }
    page += "\n## Exit codes of `lab`\n\n| code | means |\n| --- | --- |\n";
    for exit in Exit::ALL {
        let _ = writeln!(page, "| {} | {} |", exit.code(), exit.meaning());
    }
    page += "\n## Files of a run\n\n| file | holds |\n| --- | --- |\n";
    for (file, holds) in report::FILES {
        let _ = writeln!(page, "| `{file}` | {holds} |");
    }
    page += "| `history-<strategy>-<repeat>.jsonl` | every operation and every fault; all figures about losses come from it (above 32 MiB compressed, `.zst`) |\n";
    page += "\n## Scenarios\n\n| name | question |\n| --- | --- |\n";
    for (name, question) in scenarios::questions()? {
        let _ = writeln!(
            page,
            "| [`{name}`](../scenarios/{name}.toml) | {question} |"
        );
    }
    page += "\n## Flags\n\nAs `--help` prints them.\n";
    for command in commands {
        section(
            &mut page,
            &format!("lab {command}"),
            &help("lab", &[command, "--help"]).await?,
        );
    }
    for program in PROGRAMS {
        section(&mut page, program, &help(program, &["--help"]).await?);
    }
    Ok(page)
}

fn section(page: &mut String, title: &str, text: &str) {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let _ = writeln!(
        page,
        "\n### `{title}`\n\n```text\n{}\n```",
        lines.join("\n").trim()
    );
}

/// What one of our programs prints, whatever the environment says.
async fn help(program: &str, args: &[&str]) -> Result<String, Failure> {
    let path = cluster::ours(program)?;
    let failed = |why: String| {
        Failure::new(
            Exit::Usage,
            format!("`{program} {}` failed: {why}", args.join(" ")),
        )
    };
    let mut command = Command::new(path);
    command
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let printed = timeout(ANSWER_WITHIN, command.output())
        .await
        .map_err(|_| failed(format!("no end within {ANSWER_WITHIN:?}")))?
        .map_err(|error| failed(error.to_string()))?;
    if !printed.status.success() {
        return Err(failed(printed.status.to_string()));
    }
    Ok(String::from_utf8_lossy(&printed.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::sample::table;
    use std::path::Path;

    fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
    }

    #[test]
    fn blocks_are_written_anew_and_the_rest_stays() {
        let text =
            "a: 1\nports:\n  # lab generate: compose-ports\n  - old\n  # lab generate: end\nb: 2\n";
        let filled = fill(text, &table()).unwrap();
        let about = &table().all()[0].clone();
        let line = format!(
            "  - \"${{BIND:-127.0.0.1}}:${{{}:-{1}}}:{1}\"\n",
            port_variable(&about.name),
            about.port
        );
        assert!(filled.contains(&line), "{filled}");
        assert!(
            filled.starts_with("a: 1\nports:\n")
                && filled.ends_with("  # lab generate: end\nb: 2\n")
        );
        assert!(!filled.contains("old"));
        assert_eq!(fill(&filled, &table()).unwrap(), filled);
        assert!(fill("# lab generate: x\n# lab generate: end\n", &table()).is_err());
        assert!(fill("# lab generate: urls\n", &table()).is_err());
    }

    #[test]
    fn every_file_with_blocks_has_one_and_is_up_to_date() {
        for name in WITH_BLOCKS {
            let text = fs::read_to_string(root().join(name)).unwrap();
            assert!(text.contains(BEGIN), "{name}");
            assert_eq!(fill(&text, &table()).unwrap(), text, "{name}");
        }
    }

    #[test]
    fn a_port_has_a_variable_that_shells_take() {
        assert_eq!(port_variable("redis-blob"), "PORT_REDIS_BLOB");
    }
}
