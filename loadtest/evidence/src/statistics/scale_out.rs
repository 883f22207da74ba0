//! Runs with several sizes of cluster: what each station took, which one limits, and whether the throughput is what the
//! cluster can serve at all. The curve through the points is fitted in [`super::scalability`].
//!
//! **Stations.** The load balancer may use every core of the machine, each node its quota, and the store one core, because
//! Redis executes commands in one thread. By the utilisation law a request's demand is D = U ÷ X, and no station serves more
//! than its capacity ÷ D.
//!
//! **Which throughput counts.** One that the nodes (or another station) set. Where the machine was full, the generator was,
//! the quota did not hold, or nothing was busy, the figure says something else, and is refused.

use super::bootstrap::median;
use super::scalability::{self, Parameter, Point};
use crate::results::{Fitted, Run, ScaleFit, ScaleOut, ScalePoint, Station};

/// With less than a tenth of the machine idle, nodes get what is left over, and not their quota.
const FULL: f64 = 0.9;
/// A station that limits is in use for most of its time. Not all: a quota is handed out in slices, and a node that got little
/// to do in one of them cannot make up for it in the next.
const BUSY: f64 = 0.7;
/// More than this of its quota, and it is none. (The kernel counts in ticks, and lends a little.)
const OVER: f64 = 1.15;
/// More failed requests than this share, and the rest says little.
const FAILED: f64 = 0.01;

const LOAD_BALANCER: &str = "load_balancer";
const NODES: &str = "nodes";
const STORE: &str = "store";

/// Makes a run invalid whose throughput is not what a cluster of that size can serve.
pub fn refuse(run: &mut Run, quota_cores: f64, cores: usize) {
    let problems = problems(run, quota_cores, cores);
    if problems.is_empty() {
        return;
    }
    run.generator.valid = false;
    let reasons = run.generator.reason.take().into_iter().chain(problems);
    run.generator.reason = Some(reasons.collect::<Vec<_>>().join("; "));
}

fn problems(run: &Run, quota_cores: f64, cores: usize) -> Vec<String> {
    let stations = stations(run, quota_cores, cores);
    let mut problems = Vec::new();
    if let Some(used) = run.generator.machine_cpu_cores
        && used > FULL * cores as f64
    {
        problems.push(format!(
            "the run took {used:.2} of {cores} cores: nodes got what was left over, and not their quota; use a smaller quota \
             or fewer nodes"
        ));
    }
    let requests = &run.requests;
    if requests.failed as f64 > FAILED * requests.total as f64 {
        problems.push(format!(
            "{} of {} requests failed, so that the rest is not what this cluster can serve",
            requests.failed, requests.total
        ));
    }
    if stations.len() < if run.has_store() { 3 } else { 2 } {
        problems.push("the CPU of a station was not measured, so nobody knows what limited".into());
        return problems;
    }
    if let Some(nodes) = stations.iter().find(|station| station.name == NODES)
        && nodes.busy() > OVER
    {
        problems.push(format!(
            "the nodes used {:.3} cores and are limited to {:.3}: the quota did not hold",
            nodes.used_cores, nodes.capacity_cores
        ));
    }
    if stations.iter().all(|station| station.busy() < BUSY) {
        let busy: Vec<String> = stations
            .iter()
            .map(|station| {
                format!(
                    "{} {:.0} %",
                    station.name.replace('_', " "),
                    station.busy() * 100.0
                )
            })
            .collect();
        problems.push(format!(
            "no station was busy ({}): something else was the limit; use more users, or look at who waits for what",
            busy.join(", ")
        ));
    }
    problems
}

/// Who worked on a request; a station whose CPU was not measured is left out.
fn stations(run: &Run, quota_cores: f64, cores: usize) -> Vec<Station> {
    let Some(rps) = run.throughput_rps.filter(|rps| *rps > 0.0) else {
        return Vec::new();
    };
    let cost = &run.cost_us_per_request;
    let nodes = (quota_cores * run.nodes as f64).min(cores as f64);
    [
        (LOAD_BALANCER, cost.load_balancer, cores as f64),
        (NODES, cost.node, nodes),
        (STORE, cost.store, 1.0),
    ]
    .into_iter()
    .filter_map(|(name, demand_us, capacity_cores)| {
        let demand_us = demand_us.filter(|us| *us > 0.0)?;
        Some(Station {
            name: name.to_owned(),
            demand_us,
            used_cores: demand_us * rps / 1e6,
            capacity_cores,
            bound_rps: capacity_cores * 1e6 / demand_us,
        })
    })
    .collect()
}

/// Every strategy of a scenario with several sizes of cluster, in the order of their first runs.
pub fn scale_out(runs: &[Run], quota_cores: f64, cores: usize) -> Vec<ScaleOut> {
    let mut strategies: Vec<&str> = Vec::new();
    for run in runs {
        if !strategies.contains(&run.strategy.as_str()) {
            strategies.push(&run.strategy);
        }
    }
    let one = |strategy: &&str| {
        let of_it: Vec<&Run> = runs
            .iter()
            .filter(|run| run.strategy == **strategy)
            .collect();
        one_strategy(strategy, &of_it, quota_cores, cores)
    };
    strategies.iter().map(one).collect()
}

fn one_strategy(strategy: &str, runs: &[&Run], quota_cores: f64, cores: usize) -> ScaleOut {
    let mut points: Vec<ScalePoint> = runs
        .iter()
        .map(|run| ScalePoint {
            nodes: run.nodes,
            repeat: run.repeat,
            throughput_rps: run.throughput_rps,
            valid: run.generator.valid,
            reason: run.generator.reason.clone(),
            generator_cores: run.generator.cpu_cores,
            machine_cores: run.generator.machine_cpu_cores,
            stations: stations(run, quota_cores, cores),
        })
        .collect();
    points.sort_by_key(|point| (point.nodes, point.repeat));
    let valid: Vec<&ScalePoint> = points.iter().filter(|point| point.valid).collect();
    let stations = in_the_largest(&valid);
    let limit = stations
        .iter()
        .min_by(|a, b| a.bound_rps.total_cmp(&b.bound_rps))
        .map(|station| station.name.clone());
    let (fit, no_fit) = match fitted(&valid) {
        Ok(fit) => (Some(fit), None),
        Err(reason) => (None, Some(reason)),
    };
    ScaleOut {
        strategy: strategy.to_owned(),
        quota_cores,
        stations,
        limit,
        fit,
        no_fit,
        points,
    }
}

/// The stations at the largest size: demands as medians over its runs, all else computed from them again.
fn in_the_largest(valid: &[&ScalePoint]) -> Vec<Station> {
    let Some(largest) = valid.iter().map(|point| point.nodes).max() else {
        return Vec::new();
    };
    let points = || valid.iter().filter(|point| point.nodes == largest);
    let Some(first) = points().next() else {
        return Vec::new();
    };
    let middle = |station: &Station| {
        let same = || {
            points()
                .flat_map(|point| &point.stations)
                .filter(|other| other.name == station.name)
        };
        let demands: Vec<f64> = same().map(|station| station.demand_us).collect();
        let used: Vec<f64> = same().map(|station| station.used_cores).collect();
        let demand_us = median(&demands)?;
        Some(Station {
            name: station.name.clone(),
            demand_us,
            used_cores: median(&used)?,
            capacity_cores: station.capacity_cores,
            bound_rps: station.capacity_cores * 1e6 / demand_us,
        })
    };
    first.stations.iter().filter_map(middle).collect()
}

fn fitted(valid: &[&ScalePoint]) -> Result<ScaleFit, String> {
    let points: Vec<Point> = valid
        .iter()
        .filter_map(|point| {
            Some(Point {
                nodes: point.nodes as f64,
                rps: point.throughput_rps?,
            })
        })
        .collect();
    let fit = scalability::fit(&points)?;
    let told = |parameter: Parameter| Fitted {
        value: parameter.value,
        low: parameter.low,
        high: parameter.high,
    };
    let mut sizes: Vec<usize> = valid.iter().map(|point| point.nodes).collect();
    sizes.dedup();
    Ok(ScaleFit {
        lambda_rps: told(fit.lambda),
        sigma: told(fit.sigma),
        kappa: told(fit.kappa),
        r_squared: fit.r_squared,
        peak_nodes: fit.peak_nodes(),
        curve: sizes
            .into_iter()
            .map(|nodes| (nodes, fit.at(nodes as f64)))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// A run of jwt whose nodes use `busy` of their quota of 0.02 cores each.
    fn run(nodes: usize, rps: f64, busy: f64) -> Run {
        let mut run = sample::jwt(1);
        run.nodes = nodes;
        run.throughput_rps = Some(rps);
        run.requests.failed = 0;
        run.cost_us_per_request.node = Some(busy * 0.02 * nodes as f64 * 1e6 / rps);
        run.cost_us_per_request.load_balancer = Some(30.0);
        run
    }

    fn reason(run: &Run) -> String {
        let mut run = run.clone();
        refuse(&mut run, 0.02, 2);
        assert_eq!(run.generator.valid, run.generator.reason.is_none());
        run.generator.reason.unwrap_or_default()
    }

    #[test]
    fn a_figure_that_the_nodes_do_not_set_is_refused() {
        let good = run(4, 4_000.0, 0.95);
        assert_eq!(reason(&good), "");
        let mut full = good.clone();
        full.generator.machine_cpu_cores = Some(1.85);
        assert!(reason(&full).contains("1.85 of 2 cores"));
        let idle = reason(&run(4, 4_000.0, 0.4));
        assert!(
            idle.contains("no station was busy (load balancer 6 %, nodes 40 %)"),
            "{idle}"
        );
        assert!(reason(&run(4, 4_000.0, 1.3)).contains("the quota did not hold"));
        let mut failing = good.clone();
        (failing.requests.total, failing.requests.failed) = (1_000, 11);
        assert!(reason(&failing).contains("11 of 1000 requests failed"));
        let mut unknown = good;
        unknown.cost_us_per_request.node = None;
        assert!(reason(&unknown).contains("not measured"));
    }

    #[test]
    fn what_was_wrong_before_stays_wrong() {
        let mut run = run(4, 4_000.0, 0.4);
        run.generator.valid = false;
        run.generator.reason = Some("the generator took 0.90 cores".into());
        refuse(&mut run, 0.02, 2);
        let reason = run.generator.reason.unwrap();
        assert!(
            reason.starts_with("the generator took 0.90 cores; no station"),
            "{reason}"
        );
    }

    #[test]
    fn demands_and_bounds_follow_the_utilisation_law() {
        let runs: Vec<Run> = [1, 2, 3, 4, 6]
            .map(|nodes| run(nodes, 1_000.0 * nodes as f64, 1.0))
            .into();
        let [jwt] = &scale_out(&runs, 0.02, 2)[..] else {
            panic!("one strategy");
        };
        assert_eq!(jwt.limit.as_deref(), Some("nodes"));
        let nodes = &jwt.stations[1];
        assert!((nodes.demand_us - 20.0).abs() < 1e-9);
        assert!((nodes.bound_rps - 6_000.0).abs() < 1e-6);
        assert!((jwt.stations[0].bound_rps - 2e6 / 30.0).abs() < 1e-6);
        let fit = jwt.fit.as_ref().unwrap();
        assert!((fit.lambda_rps.value - 1_000.0).abs() < 1e-3);
        assert_eq!(fit.curve.len(), 5);
        assert!((fit.at(6.0) - fit.curve[4].1).abs() < 1e-9);
    }

    #[test]
    fn a_store_that_is_full_is_the_limit() {
        let mut run = sample::redis(1);
        (run.nodes, run.throughput_rps) = (8, Some(10_000.0));
        run.cost_us_per_request.load_balancer = Some(30.0);
        run.cost_us_per_request.store = Some(95.0);
        run.cost_us_per_request.node = Some(14.0);
        let scale = scale_out(&[run], 0.02, 2);
        assert_eq!(scale[0].limit.as_deref(), Some("store"));
        assert!((scale[0].stations[2].busy() - 0.95).abs() < 1e-9);
    }

    #[test]
    fn refused_points_are_shown_and_not_fitted() {
        let mut runs: Vec<Run> = [1, 2, 3, 4, 6]
            .map(|nodes| run(nodes, 1_000.0 * nodes as f64, 1.0))
            .into();
        runs[4].generator.valid = false;
        let scale = &scale_out(&runs, 0.02, 2)[0];
        assert_eq!(scale.points.len(), 5);
        assert!(scale.fit.is_none());
        assert!(scale.no_fit.as_ref().unwrap().starts_with("4 sizes"));
        let of_the_largest_valid = scale.stations[1].capacity_cores;
        assert!((of_the_largest_valid - 0.08).abs() < 1e-9);
        assert!(scale.valid_rps(6).is_empty());
    }
}
