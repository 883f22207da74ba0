//! `GET /metrics`: what the node counted, for Prometheus (text format 0.0.4).

use std::fmt::{Display, Write};
use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use session::Eviction;

use crate::metrics::Row;
use crate::node::{Lane, Node};

pub(super) async fn metrics(State(node): State<Arc<Node>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], page(&node))
}

fn page(node: &Node) -> String {
    let mut page = Page(String::with_capacity(16 * 1024));
    requests(&mut page, node);
    page.gauge(
        "shop_sessions_owned",
        "Sessions in this node's own memory.",
        by_strategy(node, |lane| lane.strategy.sessions_owned()),
    );
    // Before an operator goes on with a change of keys, every node must show the step before.
    let keys = node.lanes.iter().flat_map(|lane| {
        let keys = lane.strategy.keys().into_iter();
        keys.map(|key| {
            let (strategy, id, state) = (lane.name, key.id, key.state);
            (
                format!("strategy=\"{strategy}\",kid=\"{id}\",state=\"{state}\""),
                1,
            )
        })
    });
    page.gauge(
        "shop_signing_key_info",
        "Keys of tokens; state is signs, verifies or retired.",
        keys,
    );
    store(&mut page, node);
    let (running, waiting) = node.accounts.load();
    page.gauge(
        "shop_password_checks_running",
        "Password checks that run now.",
        [(String::new(), running)],
    );
    page.gauge(
        "shop_password_checks_waiting",
        "Password checks that wait for a worker.",
        [(String::new(), waiting)],
    );
    page.counter(
        "shop_password_checks_total",
        "Password checks that were done.",
        [(String::new(), node.accounts.done())],
    );
    page.gauge(
        "shop_draining",
        "1 from the signal to end until the end.",
        [(String::new(), u8::from(node.is_draining()))],
    );
    page.0
}

fn requests(page: &mut Page, node: &Node) {
    let lanes = node.lanes.iter().map(|lane| (lane.name, &lane.requests));
    let rows = lanes.chain([("none", &node.unrouted)]);
    let rows = rows.flat_map(|(strategy, requests)| {
        requests.rows().map(move |(endpoint, row)| {
            (
                format!("strategy=\"{strategy}\",endpoint=\"{endpoint}\""),
                row,
            )
        })
    });
    let rows: Vec<(String, &Row)> = rows.collect();
    let statuses = rows.iter().flat_map(|(labels, row)| {
        let counted = row.statuses().filter(|(_, count)| *count > 0);
        counted.map(move |(status, count)| (format!("{labels},status=\"{status}\""), count))
    });
    page.counter(
        "shop_requests_total",
        "Requests answered; strategy is none where none was chosen.",
        statuses,
    );
    let name = "shop_request_duration_seconds";
    let help = "Time from the head of a request to the head of its answer.";
    page.family(name, "histogram", help);
    for (labels, row) in rows.iter().filter(|(_, row)| row.count() > 0) {
        page.histogram(name, labels, row.buckets(), row.count(), row.sum_us());
    }
    let given_up = rows
        .iter()
        .map(|(labels, row)| (labels.clone(), row.abandoned()));
    let given_up: Vec<_> = given_up.filter(|(_, (count, _))| *count > 0).collect();
    page.counter(
        "shop_abandoned_requests_total",
        "Requests that the client or the load balancer gave up before the answer.",
        given_up
            .iter()
            .map(|(labels, (count, _))| (labels.clone(), *count)),
    );
    page.counter(
        "shop_abandoned_request_seconds_total",
        "Time from the heads of those requests until they were given up.",
        given_up
            .into_iter()
            .map(|(labels, (_, us))| (labels, seconds(us))),
    );
}

fn store(page: &mut Page, node: &Node) {
    let used: Vec<_> = by_strategy(node, |lane| lane.strategy.store_use()).collect();
    page.counter(
        "shop_store_calls_total",
        "Round trips to the store that were begun.",
        used.iter()
            .map(|(labels, used)| (labels.clone(), used.calls)),
    );
    page.counter(
        "shop_store_errors_total",
        "Calls to the store that failed or took too long.",
        used.iter()
            .map(|(labels, used)| (labels.clone(), used.errors)),
    );
    let policies = by_strategy(node, |lane| lane.strategy.eviction());
    let policies = policies.map(|(labels, eviction)| {
        let (policy, value) = match eviction {
            Eviction::Never => ("noeviction".to_owned(), "0"),
            Eviction::May { policy } => (policy, "1"),
            Eviction::Unknown => ("unknown".to_owned(), "NaN"),
        };
        (format!("{labels},policy=\"{policy}\""), value)
    });
    page.gauge(
        "shop_store_may_evict",
        "1 where the store may throw sessions away when it is short of memory, NaN where it does not say.",
        policies,
    );
    let name = "shop_store_wait_seconds";
    page.family(name, "histogram", "Time spent waiting for the store.");
    for (labels, used) in used {
        let buckets = used.wait_buckets.into_iter();
        page.histogram(name, &labels, buckets, used.calls, used.wait_us);
    }
}

/// What each strategy says that says anything, with its label.
fn by_strategy<T>(
    node: &Node,
    asked: impl Fn(&Lane) -> Option<T>,
) -> impl Iterator<Item = (String, T)> {
    node.lanes.iter().filter_map(move |lane| {
        let label = format!("strategy=\"{}\"", lane.name);
        Some((label, asked(lane)?))
    })
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

struct Page(String);

impl Page {
    fn counter<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (String, V)>,
    ) {
        self.family(name, "counter", help);
        self.values(name, values);
    }

    fn gauge<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (String, V)>,
    ) {
        self.family(name, "gauge", help);
        self.values(name, values);
    }

    fn values<V: Display>(&mut self, name: &str, values: impl IntoIterator<Item = (String, V)>) {
        for (labels, value) in values {
            if labels.is_empty() {
                self.line(format_args!("{name} {value}"));
            } else {
                self.line(format_args!("{name}{{{labels}}} {value}"));
            }
        }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    /// One histogram; `buckets` are upper bounds in microseconds with cumulative counts.
    fn histogram(
        &mut self,
        name: &str,
        labels: &str,
        buckets: impl Iterator<Item = (u64, u64)>,
        count: u64,
        sum_us: u64,
    ) {
        // Counters move while they are read: a bucket that was read after the count must not exceed it.
        for (bound_us, below) in buckets {
            let (bound, below) = (seconds(bound_us), below.min(count));
            self.line(format_args!(
                "{name}_bucket{{{labels},le=\"{bound}\"}} {below}"
            ));
        }
        self.line(format_args!(
            "{name}_bucket{{{labels},le=\"+Inf\"}} {count}"
        ));
        self.line(format_args!("{name}_sum{{{labels}}} {}", seconds(sum_us)));
        self.line(format_args!("{name}_count{{{labels}}} {count}"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{PASSWORD, Shop, head};

    #[tokio::test]
    async fn it_tells_what_was_asked_of_whom() {
        let shop = Shop::of(&["sticky", "jwt"]);
        for strategy in ["sticky", "sticky", "jwt", "paper"] {
            shop.send(head("GET", "/plain").header("x-session-strategy", strategy))
                .await;
        }
        let login = serde_json::json!({"user": "user-000001", "password": PASSWORD});
        let request = head("POST", "/login").header("x-session-strategy", "sticky");
        shop.send_json(request, &login).await;
        shop.ask("GET", "/nowhere").await;

        let answer = shop.ask("GET", "/metrics").await;
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; version=0.0.4")
        );
        for line in [
            r#"shop_requests_total{strategy="sticky",endpoint="plain",status="200"} 2"#,
            r#"shop_requests_total{strategy="jwt",endpoint="plain",status="200"} 1"#,
            r#"shop_requests_total{strategy="none",endpoint="plain",status="421"} 1"#,
            r#"shop_requests_total{strategy="sticky",endpoint="login",status="200"} 1"#,
            r#"shop_requests_total{strategy="none",endpoint="not-found",status="404"} 1"#,
            r#"shop_request_duration_seconds_count{strategy="sticky",endpoint="plain"} 2"#,
            r#"shop_request_duration_seconds_bucket{strategy="sticky",endpoint="plain",le="+Inf"} 2"#,
            r#"shop_sessions_owned{strategy="sticky"} 1"#,
            "shop_password_checks_running 0",
            "shop_password_checks_waiting 0",
            "shop_draining 0",
        ] {
            assert!(
                answer.text().lines().any(|told| told == line),
                "{line} is missing in\n{}",
                answer.text()
            );
        }
    }

    #[tokio::test]
    async fn buckets_add_up() {
        let shop = Shop::sticky();
        for _ in 0..20 {
            shop.ask("GET", "/plain").await;
        }
        let page = shop.ask("GET", "/metrics").await;
        let counts: Vec<u64> = page
            .text()
            .lines()
            .filter(|line| line.contains("_bucket{strategy=\"sticky\",endpoint=\"plain\""))
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(counts.is_sorted(), "{counts:?}");
        assert_eq!(counts.last(), Some(&20));
    }
}
