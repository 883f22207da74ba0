//! What the figures say, in sentences. Each is computed from the runs and adapts to what was measured: a figure that is
//! missing leaves its sentence out, or is named as missing in it. None is fixed text.

mod anomalies;
mod costs;
mod losses;
#[cfg(test)]
mod tests;

use super::format::list;
use super::table::Column;

/// The sentences, most important first.
pub(super) fn sentences(columns: &[Column<'_>]) -> Vec<String> {
    if columns.is_empty() {
        return vec!["No run was completed, so there is nothing to compare.".to_owned()];
    }
    let mut sentences = losses::sentences(columns);
    sentences.extend(anomalies::sentences(columns));
    sentences.extend(costs::sentences(columns));
    sentences
}

fn names<'a>(strategies: impl Iterator<Item = &'a str>) -> String {
    list(&strategies.map(str::to_owned).collect::<Vec<_>>())
}
