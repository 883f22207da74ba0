//! One strategy, so many sessions: what is needed, and how that follows.
//!
//! CPU by the utilisation law: requests a second × demand of a request ÷ the share of a core that is meant to be used. It is
//! linear, so it is the least that is needed: what nodes cost each other is not in it. Where a law was fitted that has a
//! maximum below the number of nodes, that is said.

use super::inputs::{
    Figure, Inputs, LOAD_BALANCER_US, NODE_BYTES, NODE_US, RECEIVED_BYTES, SENT_BYTES, STORE_BYTES,
    STORE_US, State,
};
use super::targets::Targets;
use super::units::{bandwidth, bytes, number, plain};
use evidence::format::figure;

const GIB: f64 = (1_u64 << 30) as f64;
/// Fewer nodes than these cannot lose one.
const FEWEST_NODES: f64 = 2.0;

/// One step: what, how, how much; a remark where the last is empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) what: &'static str,
    pub(super) how: String,
    pub(super) result: String,
}

/// What a strategy needs.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// The results, for the table: `None` where an input is missing.
    pub(super) nodes: Option<f64>,
    pub(super) balancer_cores: Option<f64>,
    /// These two also where there is no store.
    pub(super) shards: Option<f64>,
    pub(super) store_bytes: Option<f64>,
    pub(super) bits_a_second: Option<f64>,
    /// Logins a second after a lost node.
    pub(super) logins_a_second: Option<f64>,
    /// Step by step.
    pub(super) lines: Vec<Line>,
    /// Inputs that nobody measured or gave.
    pub(super) missing: Vec<&'static str>,
}

/// What `sessions` sessions of this strategy need. `leanest` is the least traffic of a request among all strategies, bytes.
pub(super) fn needs(
    inputs: &Inputs,
    targets: &Targets,
    sessions: u64,
    leanest: Option<f64>,
) -> Needs {
    let mut needs = Needs::default();
    let sessions = sessions as f64;
    // Checked to be there: all targets but the cost of a login have a value.
    let of = |target: super::targets::Part| target.value.unwrap_or(f64::NAN);
    let rate = sessions * of(targets.per_minute()) / 60.0;
    needs.line(
        "requests per second",
        format!(
            "{} sessions × {} a minute ÷ 60",
            number(sessions),
            plain(of(targets.per_minute()))
        ),
        figure(rate),
    );
    needs.nodes(inputs, targets, sessions, rate);
    needs.balancer(inputs, targets, rate);
    needs.store(inputs, targets, sessions, rate);
    needs.traffic(inputs, rate, leanest);
    needs.storm(inputs, targets, sessions);
    needs
}

/// Bytes of a request and its answer.
pub(super) fn traffic_bytes(inputs: &Inputs) -> Option<f64> {
    Some(inputs.get(SENT_BYTES)?.value + inputs.get(RECEIVED_BYTES)?.value)
}

impl Needs {
    fn line(&mut self, what: &'static str, how: String, result: String) {
        self.lines.push(Line { what, how, result });
    }

    /// The figure, or a note that it is missing.
    fn input(&mut self, inputs: &Inputs, name: &'static str) -> Option<f64> {
        let found = inputs.get(name).map(|Figure { value, .. }| value);
        if found.is_none() {
            self.missing.push(name);
        }
        found
    }

    /// Cores for a demand at a rate.
    fn cores(&mut self, what: &'static str, rate: f64, demand_us: f64, busy: f64) -> f64 {
        let cores = rate * demand_us / 1e6 / busy;
        let how = format!(
            "{}/s × {} µs ÷ {} busy",
            figure(rate),
            figure(demand_us),
            plain(busy)
        );
        self.line(what, how, format!("{} cores", figure(cores)));
        cores
    }

    fn nodes(&mut self, inputs: &Inputs, targets: &Targets, sessions: f64, rate: f64) {
        let of = |target: super::targets::Part| target.value.unwrap_or(f64::NAN);
        let demand_us = self.input(inputs, NODE_US);
        let cores = demand_us.map(|us| self.cores("nodes, CPU", rate, us, of(targets.busy())));
        let for_cpu = cores.map(|cores| (cores / of(targets.node_cores())).ceil());
        let mut parts = Vec::new();
        if let (Some(cores), Some(nodes)) = (cores, for_cpu) {
            parts.push(format!(
                "{} ÷ {} cores = {}",
                figure(cores),
                plain(of(targets.node_cores())),
                number(nodes)
            ));
        }
        let mut for_memory = Some(0.0);
        if inputs.state == State::Node {
            let each = self.input(inputs, NODE_BYTES);
            let room = of(targets.node_gib()) * GIB;
            if let Some(each) = each {
                let memory = sessions * each;
                self.line(
                    "nodes, memory",
                    format!("{} sessions × {} bytes", number(sessions), figure(each)),
                    bytes(memory),
                );
                let nodes = (memory / room).ceil();
                parts.push(format!(
                    "{} ÷ {} GiB = {}",
                    bytes(memory),
                    plain(of(targets.node_gib())),
                    number(nodes)
                ));
                for_memory = Some(nodes);
            } else {
                for_memory = None;
            }
        }
        let (Some(for_cpu), Some(for_memory)) = (for_cpu, for_memory) else {
            return;
        };
        let nodes = for_cpu.max(for_memory).max(FEWEST_NODES - 1.0) + 1.0;
        let larger = match &parts[..] {
            [only] => only.clone(),
            several => format!("the larger of {}", several.join(" and ")),
        };
        self.line(
            "nodes",
            format!("{larger}; and one that may be lost"),
            format!("{} nodes", number(nodes)),
        );
        if let Some((peak, measured)) = inputs.peak
            && peak < nodes
        {
            self.line(
                "  but the law",
                format!(
                    "that fits {measured} nodes and fewer has its maximum at {}: so far beyond them it is a guess; measure \
                     more nodes, or build cells of fewer",
                    figure(peak)
                ),
                String::new(),
            );
        }
        self.nodes = Some(nodes);
    }

    fn balancer(&mut self, inputs: &Inputs, targets: &Targets, rate: f64) {
        let busy = targets.busy().value.unwrap_or(f64::NAN);
        self.balancer_cores = self
            .input(inputs, LOAD_BALANCER_US)
            .map(|us| self.cores("load balancer", rate, us, busy));
    }

    fn store(&mut self, inputs: &Inputs, targets: &Targets, sessions: f64, rate: f64) {
        if inputs.state != State::Store {
            return;
        }
        let of = |target: super::targets::Part| target.value.unwrap_or(f64::NAN);
        let cores = self
            .input(inputs, STORE_US)
            .map(|us| self.cores("store, CPU", rate, us, of(targets.busy())));
        let memory = self.input(inputs, STORE_BYTES).map(|each| {
            let (once, copies) = (sessions * each, of(targets.store_copies()));
            self.line(
                "store, memory",
                format!(
                    "{} sessions × {} bytes × {} copies",
                    number(sessions),
                    figure(each),
                    plain(copies)
                ),
                bytes(once * copies),
            );
            self.store_bytes = Some(once * copies);
            once
        });
        if let (Some(cores), Some(memory)) = (cores, memory) {
            let by_memory = (memory / (of(targets.shard_gib()) * GIB)).ceil();
            let shards = cores.ceil().max(by_memory);
            self.line(
                "store, shards",
                format!(
                    "the larger of {} ÷ 1 core (a shard has one thread) = {} and {} ÷ {} GiB = {}",
                    figure(cores),
                    number(cores.ceil()),
                    bytes(memory),
                    plain(of(targets.shard_gib())),
                    number(by_memory)
                ),
                number(shards),
            );
            self.shards = Some(shards);
        }
    }

    fn traffic(&mut self, inputs: &Inputs, rate: f64, leanest: Option<f64>) {
        let sent = self.input(inputs, SENT_BYTES);
        let received = self.input(inputs, RECEIVED_BYTES);
        let (Some(sent), Some(received)) = (sent, received) else {
            return;
        };
        let bits = |each: f64| rate * each * 8.0;
        for (what, each) in [("from clients", sent), ("to clients", received)] {
            let how = format!("{}/s × {} bytes × 8", figure(rate), figure(each));
            self.line(what, how, bandwidth(bits(each)));
        }
        let more = leanest.map_or(0.0, |leanest| sent + received - leanest);
        if more > 0.5 {
            self.line(
                "  of it credentials",
                format!(
                    "{} bytes per request more than the leanest strategy × {}/s × 8",
                    figure(more),
                    figure(rate)
                ),
                bandwidth(bits(more)),
            );
        }
        self.bits_a_second = Some(bits(sent + received));
    }

    fn storm(&mut self, inputs: &Inputs, targets: &Targets, sessions: f64) {
        let of = |target: super::targets::Part| target.value.unwrap_or(f64::NAN);
        if inputs.survives_node_death {
            self.line(
                "after a lost node",
                "sessions survive it (declared): nobody has to log in again".into(),
                "0 logins".into(),
            );
            self.logins_a_second = Some(0.0);
            return;
        }
        let Some(nodes) = self.nodes else {
            return;
        };
        let lost = sessions / nodes;
        let rate = lost / of(targets.relogin_within_s());
        self.line(
            "after a lost node",
            format!(
                "{} sessions ÷ {} nodes = {} are lost; ÷ {} s",
                number(sessions),
                number(nodes),
                number(lost.ceil()),
                plain(of(targets.relogin_within_s()))
            ),
            format!("{} logins/s", figure(rate)),
        );
        self.logins_a_second = Some(rate);
        let Some(login_ms) = targets.login_ms().value else {
            self.missing.push("--login-ms");
            return;
        };
        let wanted = rate * login_ms / 1e3;
        self.line(
            "  their passwords",
            format!("{} logins/s × {} ms", figure(rate), plain(login_ms)),
            format!("{} cores", figure(wanted)),
        );
        let idle = (nodes - 1.0) * of(targets.node_cores()) * (1.0 - of(targets.busy()));
        self.line(
            "  idle cores left",
            format!(
                "({} − 1) nodes × {} cores × (1 − {} busy)",
                number(nodes),
                plain(of(targets.node_cores())),
                plain(of(targets.busy()))
            ),
            format!("{} cores", figure(idle)),
        );
        if idle > 0.0 {
            self.line(
                "  all are back",
                format!(
                    "not before {} logins × {} ms ÷ {} cores, nor before the {} s",
                    number(lost.ceil()),
                    plain(login_ms),
                    figure(idle),
                    plain(of(targets.relogin_within_s()))
                ),
                format!(
                    "after {} s",
                    figure((lost * login_ms / 1e3 / idle).max(of(targets.relogin_within_s())))
                ),
            );
        }
    }
}
