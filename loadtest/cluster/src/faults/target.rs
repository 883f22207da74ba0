//! Which node is meant by a rule that looks at the cluster: the one with the most sessions.
//!
//! A strategy that keeps nothing in its nodes gives every node the same: none. Then the node that answered the most
//! requests stands for the one that most users met.

use std::time::Duration;

use reqwest::Client;

use super::FaultError;
use super::fault::Target;
use crate::{Cluster, ClusterError};

/// For one node's metrics.
const DEADLINE: Duration = Duration::from_secs(2);

const SESSIONS: &str = "shop_sessions_owned";
const REQUESTS: &str = "shop_requests_total";

/// Who it is, and why where a rule chose.
pub(super) async fn resolve(
    cluster: &Cluster,
    target: &Target,
) -> Result<(Target, Option<String>), FaultError> {
    if *target != Target::MostSessions {
        return Ok((target.clone(), None));
    }
    let client = Client::builder()
        .timeout(DEADLINE)
        .no_proxy()
        .build()
        .map_err(failed)?;
    let mut counts = Vec::new();
    for node in cluster.nodes() {
        if !node.is_running().await? {
            continue;
        }
        let name = node.name();
        let answer = client
            .get(format!("{}/metrics", cluster.node_url(name)))
            .send()
            .await
            .map_err(failed)?;
        let page = answer.text().await.map_err(failed)?;
        counts.push((name.to_owned(), sum(&page, SESSIONS), sum(&page, REQUESTS)));
    }
    let (node, why) = most(&counts).ok_or(FaultError::NoNode)?;
    Ok((Target::Node(node), Some(why)))
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` wants it so")]
fn failed(error: reqwest::Error) -> FaultError {
    ClusterError::Admin(format!("no metrics of a node: {error}")).into()
}

/// The first of those that have the most.
fn most(counts: &[(String, u64, u64)]) -> Option<(String, String)> {
    let sessions: u64 = counts.iter().map(|(_, sessions, _)| sessions).sum();
    let count = |entry: &&(String, u64, u64)| if sessions > 0 { entry.1 } else { entry.2 };
    let chosen = counts.iter().rev().max_by_key(count)?;
    let all: u64 = counts.iter().map(|entry| count(&entry)).sum();
    let what = if sessions > 0 {
        "sessions"
    } else {
        "requests; no node owns a session"
    };
    let why = format!("{} has {} of {all} {what}", chosen.0, count(&chosen));
    Some((chosen.0.clone(), why))
}

/// The sum over all labels of a metric.
fn sum(page: &str, metric: &str) -> u64 {
    page.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(metric)?;
            (rest.starts_with(['{', ' '])).then_some(())?;
            rest.rsplit(' ').next()?.parse::<u64>().ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_sessions_count_and_requests_where_there_are_none() {
        let counts = |a, b| vec![("node-1".to_string(), a, 7), ("node-2".to_string(), b, 9)];
        assert_eq!(most(&counts(5, 4)).unwrap().0, "node-1");
        assert_eq!(
            most(&counts(4, 4)).unwrap(),
            ("node-1".into(), "node-1 has 4 of 8 sessions".into())
        );
        assert_eq!(
            most(&counts(0, 0)).unwrap().1,
            "node-2 has 9 of 16 requests; no node owns a session"
        );
        assert_eq!(most(&[]), None);
    }

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let page = "# HELP shop_sessions_owned x\nshop_sessions_owned{strategy=\"sticky\"} 3\n\
                    shop_sessions_owned{strategy=\"local\"} 4\nshop_sessions_owned_total 9\n";
        assert_eq!(sum(page, SESSIONS), 7);
    }
}
