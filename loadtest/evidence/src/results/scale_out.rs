//! How throughput grows with the number of nodes.

use serde::{Deserialize, Serialize};

/// One strategy over several sizes of cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleOut {
    /// The strategy.
    pub strategy: String,
    /// CPU that each node might use, in cores.
    pub quota_cores: f64,
    /// Each run, from the smallest cluster to the largest.
    pub points: Vec<ScalePoint>,
    /// The stations in the largest cluster that was measured validly; medians over its runs.
    pub stations: Vec<Station>,
    /// Of `stations`, the one that allows the fewest requests a second.
    pub limit: Option<String>,
    /// The law that fits the valid points; `None` where none could be fitted.
    pub fit: Option<ScaleFit>,
    /// Why not.
    pub no_fit: Option<String>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScalePoint {
    /// App nodes.
    pub nodes: usize,
    /// Counts from 1.
    pub repeat: u32,
    /// Answers a second.
    pub throughput_rps: Option<f64>,
    /// Whether it is what the cluster can serve.
    pub valid: bool,
    /// Why not.
    pub reason: Option<String>,
    /// CPU that the generator took, in cores.
    pub generator_cores: Option<f64>,
    /// CPU that all processes of the run took, the generator included, in cores.
    pub machine_cores: Option<f64>,
    /// Who works on a request.
    pub stations: Vec<Station>,
}

/// A place where requests are worked on. Utilisation law: demand = used ÷ throughput, and throughput ≤ capacity ÷ demand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Station {
    /// `load_balancer`, `nodes` (all together) or `store`.
    pub name: String,
    /// CPU for one request, microseconds.
    pub demand_us: f64,
    /// CPU in use, in cores.
    pub used_cores: f64,
    /// CPU that it could use, in cores.
    pub capacity_cores: f64,
    /// Requests a second that this capacity is enough for.
    pub bound_rps: f64,
}

/// The Universal Scalability Law, X(N) = λN / (1 + σ(N−1) + κN(N−1)), as it fits best.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleFit {
    /// What one node would serve, answers a second.
    pub lambda_rps: Fitted,
    /// Contention: the share of the work that waits in one line.
    pub sigma: Fitted,
    /// Coherency: what each pair of nodes costs each other.
    pub kappa: Fitted,
    /// The share of the scatter that the curve explains.
    pub r_squared: f64,
    /// More nodes than these make it slower; `None` where κ is 0, and nothing does.
    pub peak_nodes: Option<f64>,
    /// What the curve gives for each size that was measured: nodes, answers a second.
    pub curve: Vec<(usize, f64)>,
}

/// A fitted parameter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// The best value.
    pub value: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end; `None` where the points set no limit.
    pub high: Option<f64>,
}

impl Station {
    /// The share of its capacity in use.
    pub fn busy(&self) -> f64 {
        self.used_cores / self.capacity_cores
    }
}

impl ScaleOut {
    /// The sizes that were measured, ascending.
    pub fn sizes(&self) -> Vec<usize> {
        let mut sizes: Vec<usize> = self.points.iter().map(|point| point.nodes).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// The throughputs that were validly measured with so many nodes.
    pub fn valid_rps(&self, nodes: usize) -> Vec<f64> {
        let of_size = self
            .points
            .iter()
            .filter(|point| point.nodes == nodes && point.valid);
        of_size.filter_map(|point| point.throughput_rps).collect()
    }
}

impl ScaleFit {
    /// Answers a second with so many nodes.
    pub fn at(&self, nodes: f64) -> f64 {
        let (sigma, kappa) = (self.sigma.value, self.kappa.value);
        self.lambda_rps.value * nodes
            / (1.0 + sigma * (nodes - 1.0) + kappa * nodes * (nodes - 1.0))
    }
}
