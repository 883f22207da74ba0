//! The page that Prometheus reads: every counter of every listener and node, as text.
//!
//! Rendered when somebody asks; the counters themselves are in the parent module.

use std::{
    fmt::{Arguments, Write as _},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Answers, BUCKETS, Change, Counter, Histogram, ListenerStats, Moved};
use crate::{
    access_log::AccessLog, admin_state::AdminState, affinity::CookieRefusal, group::Group,
    node::Node, problem::Problem,
};

/// Name, kind, help and value of a number.
type Number<T> = (&'static str, &'static str, &'static str, fn(&T) -> u64);

/// Counters of clients that left their node, by reason.
type ByReason = fn(&ListenerStats) -> &[Counter; Moved::ALL.len()];
const MOVES: [(&str, &str, ByReason); 2] = [
    (
        "moved_total",
        "Requests of pinned clients served by another node than theirs, by reason.",
        |stats| &stats.moved,
    ),
    (
        "repins_total",
        "Clients pinned to another node than before, by the reason why they left that.",
        |stats| &stats.repins,
    ),
];

/// The plain numbers of a listener.
const LISTENER_VALUES: [Number<ListenerStats>; 9] = [
    (
        "requests_total",
        "counter",
        "Requests that came in.",
        |stats| stats.requests.get(),
    ),
    (
        "requests_under_way",
        "gauge",
        "Requests that are not over.",
        ListenerStats::under_way,
    ),
    (
        "unanswered_total",
        "counter",
        "Requests that ended without an answer: the client was gone.",
        |stats| stats.unanswered.get(),
    ),
    (
        "retries_total",
        "counter",
        "Attempts after the first one of a request.",
        |stats| stats.retries.get(),
    ),
    (
        "retry_budget_refusals_total",
        "counter",
        "Retries that the budget did not allow.",
        |stats| stats.budget_refusals.get(),
    ),
    (
        "connections_total",
        "counter",
        "Connections of clients.",
        |stats| stats.connections.opened.get(),
    ),
    (
        "connections_open",
        "gauge",
        "Connections of clients now.",
        |stats| stats.connections.open(),
    ),
    (
        "connections_refused_total",
        "counter",
        "Connections turned away, because there were too many.",
        |stats| stats.connections.refused.get(),
    ),
    (
        "proxy_headers_refused_total",
        "counter",
        "Connections closed, because they did not begin with the PROXY header of a trusted proxy.",
        |stats| stats.connections.unproven.get(),
    ),
];

/// The plain numbers of a node.
const NODE_VALUES: [Number<Node>; 11] = [
    (
        "node_attempts_total",
        "counter",
        "Requests offered to the node.",
        |node| node.stats.attempts.get(),
    ),
    (
        "node_pinned_total",
        "counter",
        "Of these, requests of clients that were pinned to it.",
        |node| node.stats.pinned.get(),
    ),
    (
        "node_connect_failures_total",
        "counter",
        "Attempts that sent nothing.",
        |node| node.stats.connect_failures.get(),
    ),
    (
        "node_broken_total",
        "counter",
        "Attempts that broke after sending.",
        |node| node.stats.broken.get(),
    ),
    (
        "node_timed_out_total",
        "counter",
        "Attempts without an answer in time after sending.",
        |node| node.stats.timed_out.get(),
    ),
    (
        "node_connections_opened_total",
        "counter",
        "Attempts on a connection opened for them.",
        |node| node.stats.connections_opened.get(),
    ),
    (
        "node_connections_reused_total",
        "counter",
        "Attempts on a connection kept from before.",
        |node| node.stats.connections_reused.get(),
    ),
    (
        "node_in_flight",
        "gauge",
        "Requests the node is working on.",
        Node::in_flight,
    ),
    ("node_up", "gauge", "1 while the node is healthy.", |node| {
        u64::from(node.is_up())
    }),
    (
        "node_ejected",
        "gauge",
        "1 while the node is left out for failing requests.",
        |node| u64::from(node.ejection.is_on()),
    ),
    (
        "node_takes_new",
        "gauge",
        "1 while the node gets clients that are not pinned.",
        |node| u64::from(node.takes_new()),
    ),
];

/// The text that Prometheus reads.
pub(crate) fn render(groups: &[Arc<Group>], access_log: Option<&AccessLog>) -> String {
    let mut page = Page {
        groups,
        text: String::with_capacity(4096),
        family: String::new(),
    };
    page.listeners();
    page.nodes();
    if let Some(log) = access_log {
        let help = "Lines of the access log that were not written.";
        page.family("access_log_dropped_total", "counter", help);
        let _ = writeln!(page.text, "{} {}", page.family, log.dropped.get());
    }
    page.text
}

/// Text in the making. Writing to a `String` cannot fail, so results are dropped.
struct Page<'a> {
    groups: &'a [Arc<Group>],
    text: String,
    /// The name under which samples are written.
    family: String,
}

impl Page<'_> {
    fn listeners(&mut self) {
        for (name, kind, help, value) in LISTENER_VALUES {
            self.family(name, kind, help);
            self.each_listener(|page, labels, stats| {
                page.sample(format_args!("{labels}"), value(stats));
            });
        }
        for (name, help, counters) in MOVES {
            self.family(name, "counter", help);
            self.each_listener(|page, labels, stats| {
                page.words(labels, "reason", &Moved::ALL, counters(stats));
            });
        }
        self.family(
            "refused_cookies_total",
            "counter",
            "Affinity cookies ignored, by reason.",
        );
        self.each_listener(|page, labels, stats| {
            page.words(labels, "reason", &CookieRefusal::ALL, &stats.refused);
        });
        self.family(
            "own_answers_total",
            "counter",
            "Answers that came from no node, by status and type of the problem.",
        );
        self.each_listener(|page, labels, stats| {
            for ((_, status, kind), counter) in Problem::ALL.iter().zip(&stats.own_answers) {
                page.sample(
                    format_args!("{labels},status=\"{status}\",type=\"{kind}\""),
                    counter.get(),
                );
            }
        });
        self.family(
            "answers_total",
            "counter",
            "Answers of nodes and our own, by class of status.",
        );
        self.each_listener(|page, labels, stats| page.classes(labels, &stats.answers));
        self.family(
            "latency_seconds",
            "histogram",
            "From the request's arrival to the end of its answer, nodes' and our own.",
        );
        self.each_listener(|page, labels, stats| page.histogram(labels, &stats.answers.latency));
    }

    fn nodes(&mut self) {
        for (name, kind, help, value) in NODE_VALUES {
            self.family(name, kind, help);
            self.each_node(|page, labels, node| page.sample(format_args!("{labels}"), value(node)));
        }
        self.family(
            "node_admin_state",
            "gauge",
            "1 for the state that the operator ordered.",
        );
        self.each_node(|page, labels, node| {
            let now = node.order.get().state();
            for (state, word) in AdminState::ALL {
                page.sample(
                    format_args!("{labels},state=\"{word}\""),
                    u64::from(state == now),
                );
            }
        });
        self.family(
            "node_state_changes_total",
            "counter",
            "Changes of state, of health and by order, by the state after.",
        );
        self.each_node(|page, labels, node| {
            page.words(labels, "to", &Change::ALL, &node.stats.changes);
        });
        self.family(
            "node_answers_total",
            "counter",
            "Answers of the node, by class of status.",
        );
        self.each_node(|page, labels, node| page.classes(labels, &node.stats.answers));
        self.family(
            "node_latency_seconds",
            "histogram",
            "From the request's arrival to the end of its answer.",
        );
        self.each_node(|page, labels, node| page.histogram(labels, &node.stats.answers.latency));
    }

    fn each_listener(&mut self, each: impl Fn(&mut Self, &str, &ListenerStats)) {
        for group in self.groups {
            let labels = format!("listener=\"{}\"", group.strategy);
            each(self, &labels, &group.stats);
        }
    }

    fn each_node(&mut self, each: impl Fn(&mut Self, &str, &Node)) {
        for group in self.groups {
            for node in group.nodes.load().iter() {
                let labels = format!("listener=\"{}\",node=\"{}\"", group.strategy, node.name);
                each(self, &labels, node);
            }
        }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.family = format!("load_balancer_{name}");
        let _ = writeln!(
            self.text,
            "# HELP {0} {help}\n# TYPE {0} {kind}",
            self.family
        );
    }

    fn sample(&mut self, labels: Arguments<'_>, value: u64) {
        let _ = writeln!(self.text, "{}{{{labels}}} {value}", self.family);
    }

    /// A counter for each word.
    fn words<T>(&mut self, labels: &str, label: &str, all: &[(T, &str)], counters: &[Counter]) {
        for ((_, word), counter) in all.iter().zip(counters) {
            self.sample(format_args!("{labels},{label}=\"{word}\""), counter.get());
        }
    }

    fn classes(&mut self, labels: &str, answers: &Answers) {
        for (class, counter) in (1..).zip(&answers.classes) {
            self.sample(format_args!("{labels},class=\"{class}xx\""), counter.get());
        }
    }

    fn histogram(&mut self, labels: &str, histogram: &Histogram) {
        let Self { text, family, .. } = self;
        let mut total = 0;
        let bounds = BUCKETS.iter().map(|(_, seconds)| *seconds).chain(["+Inf"]);
        for (bound, counter) in bounds.zip(&histogram.buckets) {
            total += counter.get();
            let _ = writeln!(text, "{family}_bucket{{{labels},le=\"{bound}\"}} {total}");
        }
        let sum_s = Duration::from_micros(histogram.sum_us.load(Ordering::Relaxed)).as_secs_f64();
        let _ = writeln!(
            text,
            "{family}_sum{{{labels}}} {sum_s}\n{family}_count{{{labels}}} {total}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        group::tests::group,
        node::{Attempt, tests::up},
    };

    #[test]
    fn everything_counted_is_on_the_page() {
        let group = group();
        let stats = &group.stats;
        stats.retries.count();
        stats.repinned(Moved::Removed);
        stats.moved(Moved::Retried);
        stats.refused(CookieRefusal::Forged, 1);
        stats.responded_locally(Problem::NoNode);
        stats.answered(503, Duration::ZERO);
        let node = up("node-1");
        let _in_flight = Attempt::at(&node).expect("room");
        node.stats.connect_failures.count();
        node.stats.changed(Change::Ejected);
        node.stats.answered(204, Duration::from_micros(900));
        node.stats.answered(404, Duration::from_mins(1));

        group.nodes.store(vec![node]);

        let page = render(&[group], None);

        for line in [
            "# TYPE load_balancer_retries_total counter",
            "load_balancer_retries_total{listener=\"sticky\"} 1",
            "load_balancer_repins_total{listener=\"sticky\",reason=\"removed\"} 1",
            "load_balancer_repins_total{listener=\"sticky\",reason=\"down\"} 0",
            "load_balancer_moved_total{listener=\"sticky\",reason=\"retried\"} 1",
            "load_balancer_refused_cookies_total{listener=\"sticky\",reason=\"forged\"} 1",
            "load_balancer_own_answers_total{listener=\"sticky\",status=\"503\",type=\"no-node\"} 1",
            "load_balancer_answers_total{listener=\"sticky\",class=\"5xx\"} 1",
            "load_balancer_latency_seconds_count{listener=\"sticky\"} 1",
            "load_balancer_node_admin_state{listener=\"sticky\",node=\"node-1\",state=\"ready\"} 1",
            "load_balancer_node_state_changes_total{listener=\"sticky\",node=\"node-1\",to=\"ejected\"} 1",
            "load_balancer_node_attempts_total{listener=\"sticky\",node=\"node-1\"} 1",
            "load_balancer_node_connect_failures_total{listener=\"sticky\",node=\"node-1\"} 1",
            "load_balancer_node_in_flight{listener=\"sticky\",node=\"node-1\"} 1",
            "load_balancer_node_up{listener=\"sticky\",node=\"node-1\"} 1",
            "load_balancer_node_answers_total{listener=\"sticky\",node=\"node-1\",class=\"2xx\"} 1",
            "load_balancer_node_answers_total{listener=\"sticky\",node=\"node-1\",class=\"4xx\"} 1",
            "load_balancer_node_latency_seconds_bucket{listener=\"sticky\",node=\"node-1\",le=\"0.0005\"} 0",
            "load_balancer_node_latency_seconds_bucket{listener=\"sticky\",node=\"node-1\",le=\"0.001\"} 1",
            "load_balancer_node_latency_seconds_bucket{listener=\"sticky\",node=\"node-1\",le=\"+Inf\"} 2",
            "load_balancer_node_latency_seconds_count{listener=\"sticky\",node=\"node-1\"} 2",
        ] {
            assert!(
                page.lines().any(|found| found == line),
                "missing: {line}\n{page}"
            );
        }
    }

    #[test]
    fn every_metric_has_its_line_in_the_operators_page() {
        let operators = include_str!("../../../docs/balancer.md");
        let page = render(&[group()], None);
        let names: Vec<_> = page
            .lines()
            .filter_map(|line| {
                line.strip_prefix("# TYPE load_balancer_")?
                    .split(' ')
                    .next()
            })
            .collect();
        assert!(names.len() > 20, "{names:?}");
        for name in names {
            let mark = format!("`{name}`");
            assert!(
                operators.contains(&mark),
                "{name} is not in docs/balancer.md"
            );
        }
    }
}
