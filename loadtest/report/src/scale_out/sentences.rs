//! What several sizes of cluster say, in sentences.

use super::{fitted, label, title, turn};
use crate::table::median;
use evidence::format::{figure, list};
use evidence::results::ScaleOut;

/// Most important first.
pub(super) fn all(all: &[ScaleOut]) -> Vec<String> {
    let mut sentences: Vec<String> = all.iter().map(growth).collect();
    sentences.extend(refused(all));
    sentences.extend(limits(all));
    sentences.extend(all.iter().filter_map(no_fit));
    sentences
}

/// "From 1 to 8 nodes sticky grew × 6.10, from 1,020 to 6,220 answers/s: …"
fn growth(scale: &ScaleOut) -> String {
    let valid: Vec<usize> = scale
        .sizes()
        .into_iter()
        .filter(|nodes| !scale.valid_rps(*nodes).is_empty())
        .collect();
    let ends = valid
        .first()
        .zip(valid.last())
        .filter(|(first, last)| first < last);
    let Some((first, last)) = ends else {
        return format!(
            "{} has no growth figure: fewer than two cluster sizes were measured validly.",
            scale.strategy
        );
    };
    let rps = |nodes: usize| median(&scale.valid_rps(nodes)).unwrap_or(0.0);
    let law = scale.fit.as_ref().map_or_else(String::new, |fit| {
        format!("; σ = {}, κ = {}", fitted(fit.sigma), fitted(fit.kappa))
    });
    format!(
        "From {} to {} throughput grew × {:.2} in {}, from {} to {} answers/s{law}.",
        label(*first),
        label(*last),
        rps(*last) / rps(*first),
        scale.strategy,
        figure(rps(*first)),
        figure(rps(*last))
    )
}

fn refused(all: &[ScaleOut]) -> Option<String> {
    let refused: Vec<String> = all
        .iter()
        .flat_map(|scale| {
            let points = scale.points.iter().filter(|point| !point.valid);
            points.map(|point| format!("{} with {}", scale.strategy, label(point.nodes)))
        })
        .collect();
    (!refused.is_empty()).then(|| format!("Refused figures: {}.", list(&refused)))
}

fn limits(all: &[ScaleOut]) -> Vec<String> {
    let limit = |scale: &ScaleOut| {
        let limit = title(scale.limit.as_deref()?).to_lowercase();
        let then = turn(scale).map_or_else(String::new, |(other, nodes)| {
            format!(
                "; with {} nodes of this size the {} would",
                figure(nodes),
                title(&other.name).to_lowercase()
            )
        });
        let verb = if limit == "nodes" { "limit" } else { "limits" };
        Some(format!("In {} the {limit} {verb}{then}.", scale.strategy))
    };
    all.iter().filter_map(limit).collect()
}

fn no_fit(scale: &ScaleOut) -> Option<String> {
    let reason = scale.no_fit.as_ref()?;
    Some(format!(
        "No law was fitted to {}: {reason}.",
        scale.strategy
    ))
}
