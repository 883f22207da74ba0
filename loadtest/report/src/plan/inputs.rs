//! The figures of each strategy, each from the first file that has it. A figure is the median over the runs that may be
//! believed, of the largest cluster among them: there the nodes were busy, and nothing is cheaper than it will be.

use evidence::expectations::figures;
use evidence::results::{Results, Run};
use evidence::statistics::median;

/// A measured number and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) value: f64,
    /// Place of the file among those given, from 0.
    pub(super) file: usize,
}

/// What is calculated from, by the name that expectations use, and for people.
pub(super) const WANTED: [(&str, &str); 8] = [
    (LOAD_BALANCER_US, "load balancer, µs per request"),
    (NODE_US, "nodes, µs per request"),
    (STORE_US, "store, µs per request"),
    (STORE_OPERATIONS, "store, operations per request"),
    (SENT_BYTES, "from the client, bytes per request"),
    (RECEIVED_BYTES, "to the client, bytes per request"),
    (NODE_BYTES, "nodes, bytes per session"),
    (STORE_BYTES, "store, bytes per session"),
];
pub(super) const LOAD_BALANCER_US: &str = "cost_us_per_request.load_balancer";
pub(super) const NODE_US: &str = "cost_us_per_request.node";
pub(super) const STORE_US: &str = "cost_us_per_request.store";
pub(super) const STORE_OPERATIONS: &str = "store_operations_per_request";
pub(super) const SENT_BYTES: &str = "bytes_per_request.sent";
pub(super) const RECEIVED_BYTES: &str = "bytes_per_request.received";
pub(super) const NODE_BYTES: &str = "memory_bytes_per_session.node";
pub(super) const STORE_BYTES: &str = "memory_bytes_per_session.store";

/// Where a strategy keeps its state, as it declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Node,
    Store,
    Client,
}

/// One strategy.
#[derive(Clone, Debug)]
pub(super) struct Inputs {
    pub(super) strategy: String,
    pub(super) state: State,
    /// Declared, too.
    pub(super) survives_node_death: bool,
    /// By the names of [`WANTED`]; `None` where no file has it.
    figures: Vec<(&'static str, Option<Figure>)>,
    /// Where the fitted law says that more nodes make it slower, and how many were measured.
    pub(super) peak: Option<(f64, usize)>,
}

impl Inputs {
    /// A figure by its name.
    pub(super) fn get(&self, name: &str) -> Option<Figure> {
        self.figures.iter().find(|(known, _)| *known == name)?.1
    }

    /// Whether this strategy could have such a figure at all.
    pub(super) fn has(&self, name: &str) -> bool {
        match name {
            STORE_US | STORE_OPERATIONS | STORE_BYTES => self.state == State::Store,
            NODE_BYTES => self.state == State::Node,
            _ => true,
        }
    }
}

/// All strategies of all files, in the order in which they appear.
pub(super) fn read(files: &[(String, Results)]) -> Vec<Inputs> {
    let mut strategies: Vec<&Run> = Vec::new();
    for run in files.iter().flat_map(|(_, results)| &results.runs) {
        if strategies
            .iter()
            .all(|known| known.strategy != run.strategy)
        {
            strategies.push(run);
        }
    }
    strategies.into_iter().map(|run| of(run, files)).collect()
}

fn of(run: &Run, files: &[(String, Results)]) -> Inputs {
    let first = |name: &str| {
        files.iter().enumerate().find_map(|(file, (_, results))| {
            let value = figure(results, &run.strategy, name)?;
            Some(Figure { value, file })
        })
    };
    let peak = files.iter().find_map(|(_, results)| {
        let scale = results
            .scale_out
            .iter()
            .find(|scale| scale.strategy == run.strategy)?;
        let most = scale.sizes().last().copied()?;
        // With a κ that may as well be 0 there may as well be no maximum.
        let fit = scale.fit.as_ref().filter(|fit| fit.kappa.low > 0.0)?;
        Some((fit.peak_nodes?, most))
    });
    Inputs {
        strategy: run.strategy.clone(),
        state: match run.properties.state_lives.as_str() {
            "node" => State::Node,
            "store" => State::Store,
            _ => State::Client,
        },
        survives_node_death: run.properties.survives_node_death,
        figures: WANTED
            .iter()
            .map(|(name, _)| (*name, first(name)))
            .collect(),
        peak,
    }
}

fn figure(results: &Results, strategy: &str, name: &str) -> Option<f64> {
    let figure = figures::named(name)?;
    let believed = || {
        let of_it = results.runs.iter().filter(|run| run.strategy == strategy);
        of_it.filter(|run| run.generator.valid)
    };
    let most = believed().map(|run| run.nodes).max()?;
    let largest = believed().filter(|run| run.nodes == most);
    let values: Option<Vec<f64>> = largest.map(|run| (figure.of)(run)).collect();
    median(&values?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::sample;

    #[test]
    fn each_figure_comes_from_the_first_file_that_has_it() {
        let mut without = sample::scaled();
        for run in &mut without.runs {
            run.memory_bytes_per_session.node = None;
        }
        let files = [
            ("a.json".into(), without),
            ("b.json".into(), sample::results()),
        ];
        let inputs = read(&files);
        let names: Vec<&str> = inputs
            .iter()
            .map(|inputs| inputs.strategy.as_str())
            .collect();
        assert_eq!(names, ["sticky", "redis", "jwt"]);
        let sticky = &inputs[0];
        assert_eq!(sticky.get(NODE_US).unwrap().file, 0);
        assert_eq!(
            sticky.get(NODE_BYTES),
            Some(Figure {
                value: 564.2,
                file: 1
            })
        );
        assert_eq!(sticky.state, State::Node);
        assert!(sticky.has(NODE_BYTES) && !sticky.has(STORE_BYTES));
    }

    #[test]
    fn refused_runs_give_no_figures() {
        // Of redis the run with 8 nodes is refused, so that with 6 counts.
        let results = sample::scaled();
        let of_six = results
            .runs
            .iter()
            .find(|run| run.strategy == "redis" && run.nodes == 6);
        let wanted = of_six.unwrap().cost_us_per_request.node;
        let inputs = read(&[("a.json".into(), results.clone())]);
        assert_eq!(inputs[1].get(NODE_US).map(|figure| figure.value), wanted);
        let mut refused = results;
        for run in &mut refused.runs {
            run.generator.valid = false;
        }
        assert_eq!(read(&[("a.json".into(), refused)])[1].get(NODE_US), None);
    }
}
