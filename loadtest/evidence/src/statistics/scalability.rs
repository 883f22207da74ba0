//! How throughput grows with the number of nodes: the Universal Scalability Law (Gunther, "Guerrilla Capacity Planning", 2007),
//!
//! ```text
//! X(N) = λN / (1 + σ(N−1) + κN(N−1))        σ, κ ≥ 0
//! ```
//! λ is what one node would serve, σ the share of the work that waits in one line (contention), κ what each pair of nodes
//! costs each other (coherency). Fitted by least squares (Levenberg and Marquardt's way), with the bounds held by trying each
//! of them: with two bounded parameters there are four cases.
//!
//! **Intervals** come from the likelihood's profile: a parameter is held at a value, the others are fitted again, and the
//! value belongs to the 95 % interval while the squares grow by no more than Student's t allows. Unlike the curvature at the
//! minimum this holds for a parameter at its bound, where κ often is. It assumes that runs scatter evenly around the curve;
//! with five or six runs it is wide, and should be.
//!
//! What a point is, and whether it may be used, is decided in [`super::scale_out`].

#[cfg(test)]
mod tests;

/// Fewer sizes leave nothing over to judge the fit by.
pub(super) const FEWEST_SIZES: usize = 5;
const PARAMETERS: usize = 3;
/// Steps of the minimisation. It converges in some ten.
const STEPS: usize = 200;
/// A step so small beside the parameter is the end.
const NEAR: f64 = 1e-11;
/// Halvings on the way to the end of an interval: six digits.
const HALVINGS: usize = 24;
/// Squares so small beside the data's own are rounding.
const ROUNDING: f64 = 1e-20;
/// Two-sided 95 % quantiles of Student's t for 1, 2 … degrees of freedom.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// One measurement: so many nodes, so many answers a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) nodes: f64,
    pub(super) rps: f64,
}

/// A fitted parameter with its 95 % interval. `high` is `None` where the data sets no upper limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Parameter {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: Option<f64>,
}

/// The law as it fits best.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    pub(super) lambda: Parameter,
    pub(super) sigma: Parameter,
    pub(super) kappa: Parameter,
    /// The share of the scatter that the curve explains.
    pub(super) r_squared: f64,
}

impl Fit {
    /// Answers a second with so many nodes.
    pub(super) fn at(&self, nodes: f64) -> f64 {
        law(
            [self.lambda.value, self.sigma.value, self.kappa.value],
            nodes,
        )
    }

    /// The number of nodes beyond which more make it slower; `None` where there is none.
    pub(super) fn peak_nodes(&self) -> Option<f64> {
        let (sigma, kappa) = (self.sigma.value, self.kappa.value);
        (kappa > 0.0 && sigma < 1.0).then(|| ((1.0 - sigma) / kappa).sqrt())
    }
}

/// λ, σ, κ.
type Parameters = [f64; PARAMETERS];

/// Which of them are to be found; the others stay as they are.
type Free = [bool; PARAMETERS];

/// Fits the law; or says why it cannot be fitted.
pub(super) fn fit(points: &[Point]) -> Result<Fit, String> {
    if let Some(wrong) = points
        .iter()
        .find(|point| !(point.nodes >= 1.0 && point.rps > 0.0 && point.rps.is_finite()))
    {
        return Err(format!(
            "{} answers a second with {} nodes is no throughput that a law could be fitted to",
            wrong.rps, wrong.nodes
        ));
    }
    let mut sizes: Vec<f64> = points.iter().map(|point| point.nodes).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    if sizes.len() < FEWEST_SIZES {
        return Err(format!(
            "{} sizes of cluster with a valid figure; three parameters and a judgement of them need at least {FEWEST_SIZES}",
            sizes.len()
        ));
    }
    let (best, squares) = constrained(points, guess(points), [true; PARAMETERS]);
    let mean = points.iter().map(|point| point.rps).sum::<f64>() / points.len() as f64;
    let scatter: f64 = points.iter().map(|point| (point.rps - mean).powi(2)).sum();
    if scatter <= 0.0 {
        return Err("throughput is the same with every number of nodes, to the last digit".into());
    }
    let interval = |index| Parameter {
        value: best[index],
        ..interval(points, best, squares, index)
    };
    Ok(Fit {
        lambda: interval(0),
        sigma: interval(1),
        kappa: interval(2),
        r_squared: 1.0 - squares / scatter,
    })
}

fn law([lambda, sigma, kappa]: Parameters, nodes: f64) -> f64 {
    lambda * nodes / (1.0 + sigma * (nodes - 1.0) + kappa * nodes * (nodes - 1.0))
}

fn squares(points: &[Point], parameters: Parameters) -> f64 {
    let residual = |point: &Point| point.rps - law(parameters, point.nodes);
    points.iter().map(|point| residual(point).powi(2)).sum()
}

/// The best of a few combinations, to start from. λ follows from the others: the law is a straight line in it.
fn guess(points: &[Point]) -> Parameters {
    let mut best = ([1.0, 0.0, 0.0], f64::INFINITY);
    for sigma in [0.0, 0.001, 0.01, 0.05, 0.2, 0.6] {
        for kappa in [0.0, 1e-6, 1e-4, 1e-3, 1e-2, 0.1] {
            let shape = |point: &Point| law([1.0, sigma, kappa], point.nodes);
            let both: f64 = points.iter().map(|point| point.rps * shape(point)).sum();
            let own: f64 = points.iter().map(|point| shape(point).powi(2)).sum();
            let parameters = [both / own, sigma, kappa];
            let squares = squares(points, parameters);
            if squares < best.1 {
                best = (parameters, squares);
            }
        }
    }
    best.0
}

/// The least squares with σ, κ ≥ 0: of the four ways to let them go or to hold them at 0, the best that is allowed.
fn constrained(points: &[Point], start: Parameters, free: Free) -> (Parameters, f64) {
    let mut best = (start, f64::INFINITY);
    for (sigma_free, kappa_free) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut start = start;
        let mut now_free = free;
        for (index, stays_free) in [(1, sigma_free), (2, kappa_free)] {
            if free[index] && !stays_free {
                start[index] = 0.0;
                now_free[index] = false;
            }
        }
        let (found, squares) = minimised(points, start, now_free);
        if found[1] >= 0.0 && found[2] >= 0.0 && squares < best.1 {
            best = (found, squares);
        }
    }
    best
}

/// Levenberg and Marquardt: Gauss's step where it helps, a smaller one down the slope where it does not.
fn minimised(points: &[Point], start: Parameters, free: Free) -> (Parameters, f64) {
    let mut parameters = start;
    let mut least = squares(points, parameters);
    let mut damping = 1e-3;
    for _ in 0..STEPS {
        let (mut matrix, mut slope) = ([[0.0; PARAMETERS]; PARAMETERS], [0.0; PARAMETERS]);
        for point in points {
            let gradient = gradient(parameters, point.nodes, free);
            let residual = point.rps - law(parameters, point.nodes);
            for row in 0..PARAMETERS {
                slope[row] += gradient[row] * residual;
                for column in 0..PARAMETERS {
                    matrix[row][column] += gradient[row] * gradient[column];
                }
            }
        }
        for (index, row) in matrix.iter_mut().enumerate() {
            // What is held has an empty row; any number there keeps it at rest.
            row[index] = if free[index] {
                row[index] * (1.0 + damping)
            } else {
                1.0
            };
        }
        let Some(step) = solved(matrix, slope) else {
            damping *= 10.0;
            continue;
        };
        let mut next = parameters;
        let mut moved = false;
        for index in 0..PARAMETERS {
            next[index] += step[index];
            moved |= step[index].abs() > NEAR * (parameters[index].abs() + NEAR);
        }
        if !moved {
            break;
        }
        let squares = squares(points, next);
        if squares.is_finite() && squares <= least {
            let done = least - squares <= least * 1e-15;
            (parameters, least) = (next, squares);
            damping = (damping * 0.1).max(1e-12);
            if done {
                break;
            }
        } else if damping > 1e12 {
            break;
        } else {
            damping *= 10.0;
        }
    }
    (parameters, least)
}

fn gradient([lambda, sigma, kappa]: Parameters, nodes: f64, free: Free) -> Parameters {
    let below = 1.0 + sigma * (nodes - 1.0) + kappa * nodes * (nodes - 1.0);
    let share = nodes / below;
    let full = [
        share,
        -lambda * share * (nodes - 1.0) / below,
        -lambda * share * nodes * (nodes - 1.0) / below,
    ];
    std::array::from_fn(|index| if free[index] { full[index] } else { 0.0 })
}

/// Gauss's elimination with the largest pivot; `None` for a matrix that says nothing.
fn solved(mut matrix: [Parameters; PARAMETERS], mut right: Parameters) -> Option<Parameters> {
    for column in 0..PARAMETERS {
        let pivot = (column..PARAMETERS).max_by(|a, b| {
            matrix[*a][column]
                .abs()
                .total_cmp(&matrix[*b][column].abs())
        })?;
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        let divisor = matrix[column][column];
        if divisor.abs() < f64::MIN_POSITIVE || !divisor.is_finite() {
            return None;
        }
        let (upper, upper_right) = (matrix[column], right[column]);
        for row in column + 1..PARAMETERS {
            let factor = matrix[row][column] / divisor;
            for (cell, above) in matrix[row].iter_mut().zip(upper) {
                *cell -= factor * above;
            }
            right[row] -= factor * upper_right;
        }
    }
    for row in (0..PARAMETERS).rev() {
        let known: f64 = (row + 1..PARAMETERS)
            .map(|later| matrix[row][later] * right[later])
            .sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    Some(right)
}

/// The values of one parameter that the data does not rule out.
fn interval(points: &[Point], best: Parameters, least: f64, index: usize) -> Parameter {
    let value = best[index];
    let size: f64 = points.iter().map(|point| point.rps.powi(2)).sum();
    if least <= size * ROUNDING {
        return Parameter {
            value,
            low: value,
            high: Some(value),
        };
    }
    let freedom = points.len() - PARAMETERS;
    let limit = least * (1.0 + student(freedom).powi(2) / freedom as f64);
    let mut free = [true; PARAMETERS];
    free[index] = false;
    let allowed = |tried: f64| {
        let mut start = best;
        start[index] = tried;
        constrained(points, start, free).1 <= limit
    };
    // From a value that is allowed to one that is not, halving the way.
    let edge = |mut inside: f64, mut outside: f64| {
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(inside, outside);
            if allowed(middle) {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        inside
    };
    let low = if allowed(0.0) { 0.0 } else { edge(value, 0.0) };
    let mut step = if index == 0 {
        value * 1e-3
    } else {
        (value * 1e-2).max(1e-7)
    };
    let mut high = None;
    for _ in 0..40 {
        if !allowed(value + step) {
            high = Some(edge(value, value + step));
            break;
        }
        step *= 2.0;
    }
    Parameter { value, low, high }
}

fn student(freedom: usize) -> f64 {
    let beyond = 1.96 + 2.5 / freedom as f64;
    STUDENT
        .get(freedom.saturating_sub(1))
        .copied()
        .unwrap_or(beyond)
}
