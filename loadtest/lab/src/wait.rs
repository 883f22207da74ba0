//! `lab wait`: until a cluster serves. For `docker-compose` 1.29, whose `up -d` returns before anything is ready.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, Url};
use tokio::time::{Instant, sleep};

use crate::exit::{Exit, Failure};
use crate::output;

/// For one look.
const LOOK: Duration = Duration::from_secs(2);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Wait until a cluster serves: until each URL's /plain is answered with 200.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Base addresses of listeners.
    #[arg(value_name = "URL", default_values = ["http://127.0.0.1:8081", "http://127.0.0.1:8082", "http://127.0.0.1:8083"])]
    urls: Vec<Url>,

    /// How long to wait.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    within_s: u64,
}

/// `lab wait`
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let begun = Instant::now();
    until_ready(&args.urls, Duration::from_secs(args.within_s)).await?;
    let took = begun.elapsed().as_secs_f64();
    output::print(format_args!("Ready after {took:.1} s.\n"))?;
    Ok(Exit::Held)
}

/// Returns when all of `urls` are ready; the error names the first that is not, and what it answered last.
pub(crate) async fn until_ready(urls: &[Url], within: Duration) -> Result<(), Failure> {
    let client = Client::builder().timeout(LOOK).no_proxy().build();
    let client = client.map_err(|error| Failure::new(Exit::NoCluster, error.to_string()))?;
    let deadline = Instant::now() + within;
    let waits = urls.iter().map(|url| ready(&client, url, deadline));
    for (url, outcome) in urls.iter().zip(join_all(waits).await) {
        outcome.map_err(|last| {
            Failure::new(
                Exit::NoCluster,
                format!(
                    "{url} is not ready after {within:?}: {last}. What the containers say: docker-compose ps, docker-compose logs"
                ),
            )
        })?;
    }
    Ok(())
}

async fn ready(client: &Client, base: &Url, deadline: Instant) -> Result<(), String> {
    // The balancer asks nodes for their readiness itself, and keeps that path from everybody else.
    let url = base.join("/plain").map_err(|error| error.to_string())?;
    loop {
        let problem = match client.get(url.clone()).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => answer.status().to_string(),
            Err(error) if error.is_connect() => "nobody listens there".into(),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(problem);
        }
        sleep(PAUSE).await;
    }
}
