//! What a session takes: opens many at once and looks at how memory grew.
//!
//! Memory also grows when no session is opened: buffers, connections, the allocator's habits. So the same number of
//! requests without a session goes first, and what they make memory grow by is the noise that the figure must beat.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Client;

use crate::attack::account;
use crate::exit::{Exit, Failure};
use crate::own_side;
use cluster::{Cluster, ClusterError};
use evidence::history::MemoryProbe;
use evidence::history::Reason;
use evidence::pace::REQUEST_TIMEOUT;

/// Requests at the same time.
const PARALLEL: usize = 32;
/// One in so many sessions is opened beforehand, so that everything that happens once has happened.
const WARM_UP_SHARE: u32 = 2;
/// For memory to come to rest.
const REST: Duration = Duration::from_millis(300);

/// Opens `sessions` sessions of the accounts from `first_account` on.
pub(super) async fn probe(
    cluster: &Cluster,
    strategy: &str,
    first_account: u32,
    sessions: u32,
) -> Result<MemoryProbe, Failure> {
    let client = Client::builder()
        .timeout(REQUEST_TIMEOUT)
        .pool_max_idle_per_host(PARALLEL)
        .no_proxy()
        .http1_only()
        .build()
        .map_err(|error| failed(&error))?;
    let url = cluster.url(strategy);
    let accounts = first_account..first_account + sessions;

    log_in(
        &client,
        &url,
        cluster.password(),
        1..1 + sessions / WARM_UP_SHARE,
    )
    .await?;
    let before = Footprint::read(cluster).await?;
    let plain = stream::iter(accounts.clone().map(Ok::<_, reqwest::Error>));
    plain
        .try_for_each_concurrent(PARALLEL, |_| async {
            let answer = client.get(format!("{url}/plain")).send().await?;
            answer.error_for_status()?.bytes().await.map(drop)
        })
        .await
        .map_err(|error| failed(&error))?;
    let idle = Footprint::read(cluster).await?;
    log_in(&client, &url, cluster.password(), accounts).await?;
    let full = Footprint::read(cluster).await?;
    Ok(MemoryProbe {
        sessions: sessions.into(),
        node_growth_bytes: full.nodes - idle.nodes,
        node_noise_bytes: (idle.nodes - before.nodes).abs(),
        store_growth_bytes: full.store.zip(idle.store).map(|(full, idle)| full - idle),
    })
}

async fn log_in(
    client: &Client,
    url: &str,
    password: &str,
    accounts: std::ops::Range<u32>,
) -> Result<(), Failure> {
    stream::iter(accounts)
        .map(|number| async move {
            let body = serde_json::json!({ "user": account(number), "password": password });
            let answer = client
                .post(format!("{url}/login"))
                .json(&body)
                .send()
                .await?;
            answer.error_for_status()?.bytes().await.map(drop)
        })
        .buffer_unordered(PARALLEL)
        .try_collect::<()>()
        .await
        .map_err(|error| failed(&error))
}

/// Memory at one moment.
struct Footprint {
    nodes: i64,
    store: Option<i64>,
}

impl Footprint {
    async fn read(cluster: &Cluster) -> Result<Self, Failure> {
        tokio::time::sleep(REST).await;
        let mut nodes = 0;
        for node in cluster.nodes() {
            let usage = node.usage().await.map_err(ClusterError::from)?;
            nodes += usage.anon_bytes.cast_signed();
        }
        let store = cluster.store_info().await?;
        Ok(Self {
            nodes,
            store: store.map(|info| info.used_memory_bytes.cast_signed()),
        })
    }
}

/// A healthy cluster without load must answer these; if it does not, nothing after it would mean anything.
fn failed(error: &reqwest::Error) -> Failure {
    if let Some(reason) = own_side::reason(error).and_then(Reason::advice) {
        let what = format!("requests never left this machine while sessions were opened: {reason}");
        return Failure::new(Exit::Invalid, what);
    }
    // The request's body holds a password; reqwest does not print bodies.
    Failure::new(
        Exit::NoCluster,
        format!("the cluster did not answer while sessions were opened: {error}"),
    )
}
