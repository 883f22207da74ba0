//! The page that Prometheus reads: every counter of every listener and node, as text.
//!
//! Rendered when somebody asks; the counters themselves are in the parent module.

use std::{
    fmt::{Arguments, Write as _},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{BUCKETS, Histogram, OWN_STATUS, Repin};
use crate::{affinity::Refusal, group::Group, node::Node};

/// The text that Prometheus reads.
pub(crate) fn render(groups: &[Arc<Group>]) -> String {
    let mut page = Page {
        groups,
        text: String::with_capacity(4096),
        family: String::new(),
    };
    page.listeners();
    page.nodes();
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
        self.family(
            "retries_total",
            "counter",
            "Attempts after the first one of a request.",
        );
        for group in self.groups {
            let listener = &group.strategy;
            self.sample(
                format_args!("listener=\"{listener}\""),
                group.stats.retries.get(),
            );
        }
        self.family(
            "repins_total",
            "counter",
            "Pinned clients served by another node, by reason.",
        );
        for group in self.groups {
            let listener = &group.strategy;
            for ((_, reason), counter) in Repin::ALL.iter().zip(&group.stats.repins) {
                self.sample(
                    format_args!("listener=\"{listener}\",reason=\"{reason}\""),
                    counter.get(),
                );
            }
        }
        self.family(
            "refused_cookies_total",
            "counter",
            "Affinity cookies ignored, by reason.",
        );
        for group in self.groups {
            let listener = &group.strategy;
            for ((_, reason), counter) in Refusal::ALL.iter().zip(&group.stats.refused) {
                self.sample(
                    format_args!("listener=\"{listener}\",reason=\"{reason}\""),
                    counter.get(),
                );
            }
        }
        self.family(
            "own_answers_total",
            "counter",
            "Answers that came from no node, by status.",
        );
        for group in self.groups {
            let listener = &group.strategy;
            for (status, counter) in OWN_STATUS.iter().zip(&group.stats.own_answers) {
                self.sample(
                    format_args!("listener=\"{listener}\",status=\"{status}\""),
                    counter.get(),
                );
            }
        }
    }

    fn nodes(&mut self) {
        type Value = fn(&Node) -> u64;
        let families: [(&str, &str, &str, Value); 5] = [
            (
                "node_attempts_total",
                "counter",
                "Requests offered to the node.",
                |node| node.stats.attempts.get(),
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
                "node_in_flight",
                "gauge",
                "Requests the node is working on.",
                Node::in_flight,
            ),
            (
                "node_up",
                "gauge",
                "1 while the node gets requests.",
                |node| u64::from(node.is_up()),
            ),
        ];
        for (name, kind, help, value) in families {
            self.family(name, kind, help);
            self.each_node(|page, labels, node| page.sample(format_args!("{labels}"), value(node)));
        }
        self.family(
            "node_answers_total",
            "counter",
            "Answers of the node, by class of status.",
        );
        self.each_node(|page, labels, node| {
            for (class, counter) in (1..).zip(&node.stats.answers) {
                page.sample(format_args!("{labels},class=\"{class}xx\""), counter.get());
            }
        });
        self.family(
            "node_latency_seconds",
            "histogram",
            "From the request's arrival to its end.",
        );
        self.each_node(|page, labels, node| page.histogram(labels, &node.stats.latency));
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
        stats.repinned(Repin::Removed);
        stats.refused(Refusal::Forged);
        stats.answered_itself(503);
        let node = up("node-1");
        let _in_flight = Attempt::at(Arc::clone(&node));
        node.stats.connect_failures.count();
        node.stats.answered(204, Duration::from_micros(900));
        node.stats.answered(404, Duration::from_mins(1));

        group.nodes.store(vec![node]);

        let page = render(&[group]);

        for line in [
            "# TYPE load_balancer_retries_total counter",
            "load_balancer_retries_total{listener=\"sticky\"} 1",
            "load_balancer_repins_total{listener=\"sticky\",reason=\"removed\"} 1",
            "load_balancer_repins_total{listener=\"sticky\",reason=\"down\"} 0",
            "load_balancer_refused_cookies_total{listener=\"sticky\",reason=\"forged\"} 1",
            "load_balancer_own_answers_total{listener=\"sticky\",status=\"503\"} 1",
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
}
