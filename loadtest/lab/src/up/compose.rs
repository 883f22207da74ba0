//! `lab up --on compose`: the same cluster in containers, until Ctrl-C.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use reqwest::Url;

use super::{Args, Signals, say};
use crate::compose::Compose;
use crate::exit::{Exit, Failure};
use crate::generate::port_variable;
use crate::wait::until_ready;

/// From started containers to a first answer: health checks come every few seconds, one after the other.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// Starts it (images that are missing are built first), says where it is, and takes it down again.
pub(super) async fn run(args: &Args, ports: &[u16]) -> Result<Exit, Failure> {
    if let Some(flag) = args.beyond_compose() {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "{flag} with --on compose: change docker-compose.yml, or use the variables that stand in it"
            ),
        ));
    }
    let mut signals = Signals::listen()?;
    let mut compose = Compose::find().await?;
    compose.set("SESSION_STRATEGIES", args.strategies.join(","));
    let mut urls = Vec::new();
    for (strategy, port) in args.strategies.iter().zip(ports) {
        compose.set(&port_variable(strategy), port.to_string());
        let url = Url::parse(&format!("http://127.0.0.1:{port}"));
        urls.push(url.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?);
    }
    let begun = Instant::now();
    let up: Vec<OsString> = ["up", "-d", "--scale"].map(Into::into).to_vec();
    let scale = OsString::from(format!("app={}", args.nodes));
    let started = async {
        let status = compose.run(up.into_iter().chain([scale])).await?;
        if !status.success() {
            return Err(Failure::new(
                Exit::NoCluster,
                "the containers did not start: see the message above. Without a registry, build the images first: deploy/images/build",
            ));
        }
        until_ready(&urls, READY_WITHIN).await?;
        let secret = ["exec", "-T", "load-balancer", "cat", "/secrets/password"];
        compose.output(&secret).await
    };
    let outcome = tokio::select! {
        biased;
        () = signals.next() => None,
        started = started => Some(started),
    };
    let failure = match outcome {
        Some(Ok(password)) => {
            say(&guide(args, &urls, password.trim(), begun.elapsed()));
            signals.next().await;
            None
        }
        Some(Err(failure)) => Some(failure),
        None => None,
    };
    say("Taking the containers down; their volumes stay.");
    tokio::select! {
        biased;
        () = signals.next() => {
            say("Ended at once; what still runs is taken down by `docker-compose down`.");
            return Ok(Exit::Interrupted);
        }
        ended = compose.run(["down".into()]) => drop(ended?),
    }
    failure.map_or(Ok(Exit::Held), Err)
}

fn guide(args: &Args, urls: &[Url], password: &str, took: Duration) -> String {
    let mut page = vec![format!(
        "\nThe cluster is up after {:.1} s.\n\nStrategies, each at the load balancer",
        took.as_secs_f64()
    )];
    for (strategy, url) in args.strategies.iter().zip(urls) {
        page.push(format!(
            "  {strategy:<14} {}",
            url.as_str().trim_end_matches('/')
        ));
    }
    page.push(format!(
        "\nAccounts: user-000001 and so on, all with the password {password}\n\
         \nMore nodes: docker-compose up -d --scale app=6\
         \nAn experiment: ./lab run kill-node --on compose\
         \n\nCtrl-C takes everything down."
    ));
    page.join("\n")
}
