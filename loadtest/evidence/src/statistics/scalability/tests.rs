//! The fit: published data, data of known parameters, and data that cannot be fitted.

use super::*;
use crate::random::{Random, Stream};

fn points(pairs: &[(f64, f64)]) -> Vec<Point> {
    let point = |(nodes, rps): &(f64, f64)| Point {
        nodes: *nodes,
        rps: *rps,
    };
    pairs.iter().map(point).collect()
}

fn exact(parameters: Parameters, sizes: &[f64]) -> Vec<Point> {
    let point = |nodes: &f64| Point {
        nodes: *nodes,
        rps: law(parameters, *nodes),
    };
    sizes.iter().map(point).collect()
}

fn close(found: f64, wanted: f64, within: f64) {
    assert!((found - wanted).abs() <= within, "{found}, not {wanted}");
}

#[test]
fn the_published_data_set_gives_the_published_figures() {
    // SPEC SDM91 on an Auspex server, the example of R's package `usl`.
    let fit = fit(&points(&[
        (1.0, 64.9),
        (18.0, 995.9),
        (36.0, 1652.4),
        (72.0, 1853.2),
        (108.0, 1828.9),
        (144.0, 1775.0),
        (216.0, 1702.2),
    ]))
    .unwrap();
    close(fit.sigma.value, 0.027_728_5, 5e-8);
    close(fit.kappa.value, 0.000_104_4, 5e-8);
    close(fit.lambda.value, 89.995_233_0, 5e-7);
    close(fit.peak_nodes().unwrap(), 96.5, 0.05);
    assert!(fit.r_squared > 0.98 && fit.r_squared < 1.0);
    for Parameter { value, low, high } in [fit.lambda, fit.sigma, fit.kappa] {
        assert!(low > 0.0 && low < value && value < high.unwrap());
    }
}

#[test]
fn data_that_follows_the_law_gives_its_parameters_back() {
    let sizes = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0];
    for (sigma, kappa) in [
        (0.0, 0.0),
        (0.05, 0.0),
        (0.0, 0.002),
        (0.03, 0.001),
        (0.4, 0.05),
    ] {
        let fit = fit(&exact([950.0, sigma, kappa], &sizes)).unwrap();
        close(fit.lambda.value, 950.0, 1e-5);
        close(fit.sigma.value, sigma, 1e-8);
        close(fit.kappa.value, kappa, 1e-8);
        close(fit.r_squared, 1.0, 1e-12);
        close(fit.at(5.0), law([950.0, sigma, kappa], 5.0), 1e-5);
        assert_eq!(fit.peak_nodes().is_some_and(|peak| peak < 1e4), kappa > 0.0);
    }
}

#[test]
fn more_than_linear_growth_stops_at_the_bounds() {
    let fit = fit(&points(&[
        (1.0, 90.0),
        (2.0, 200.0),
        (3.0, 310.0),
        (4.0, 420.0),
        (6.0, 640.0),
    ]))
    .unwrap();
    assert_eq!((fit.sigma.value, fit.kappa.value), (0.0, 0.0));
    assert_eq!((fit.sigma.low, fit.kappa.low), (0.0, 0.0));
    assert_eq!(fit.peak_nodes(), None);
}

#[test]
fn an_interval_holds_the_truth_about_as_often_as_it_says() {
    let truth = [1_000.0, 0.08, 0.004];
    let mut held = 0;
    for seed in 0..100 {
        let mut random = Random::new(seed, Stream::User(3));
        let mut scattered = exact(truth, &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0]);
        for point in &mut scattered {
            // The sum of twelve even numbers less six is as good as normal.
            let normal: f64 = (0..12)
                .map(|_| random.below(1_000_000) as f64 / 1e6)
                .sum::<f64>()
                - 6.0;
            point.rps += 40.0 * normal;
        }
        let (best, least) = constrained(&scattered, guess(&scattered), [true; PARAMETERS]);
        let sigma = interval(&scattered, best, least, 1);
        let within = sigma.low <= truth[1] && sigma.high.is_none_or(|high| truth[1] <= high);
        held += u32::from(within);
    }
    assert!((89..=99).contains(&held), "{held} of 100");
}

#[test]
fn too_little_or_senseless_data_is_refused_with_the_reason() {
    let four = exact([100.0, 0.1, 0.0], &[1.0, 2.0, 4.0, 8.0]);
    let reason = fit(&four).unwrap_err();
    assert!(
        reason.starts_with("4 sizes") && reason.ends_with("at least 5"),
        "{reason}"
    );
    // Repeats are no sizes.
    let repeated = [four.clone(), four].concat();
    assert!(fit(&repeated).is_err());
    assert!(fit(&[]).is_err());
    let sizes = [1.0, 2.0, 3.0, 4.0, 6.0];
    let mut dead = exact([100.0, 0.1, 0.0], &sizes);
    dead[2].rps = 0.0;
    assert!(
        fit(&dead)
            .unwrap_err()
            .contains("0 answers a second with 3 nodes")
    );
    dead[2].rps = f64::NAN;
    assert!(fit(&dead).is_err());
    let flat = points(&sizes.map(|nodes| (nodes, 100.0)));
    assert!(
        fit(&flat)
            .unwrap_err()
            .contains("the same with every number of nodes")
    );
}

#[test]
fn the_same_throughput_but_for_noise_is_pure_contention() {
    let fit = fit(&points(&[
        (1.0, 100.0),
        (2.0, 101.0),
        (3.0, 99.0),
        (4.0, 100.0),
        (6.0, 100.5),
    ]))
    .unwrap();
    close(fit.sigma.value, 1.0, 0.1);
    assert!(fit.kappa.low == 0.0 && fit.sigma.low > 0.8);
}
