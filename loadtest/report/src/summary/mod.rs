//! What the figures say, in sentences. Each is computed from the runs and adapts to what was measured: a figure that is
//! missing leaves its sentence out, or is named as missing in it. None is fixed text.

mod anomalies;
mod costs;
mod losses;
mod revocation;
#[cfg(test)]
mod tests;

use super::table::Column;
use evidence::format::list;
use evidence::results::Comparison;

/// So many sentences are to be remembered, where there are so many.
const HEADLINE: usize = 4;

/// The sentences, most important first.
pub(super) struct Summary {
    /// What to remember.
    pub(super) headline: Vec<String>,
    /// What else there is to say.
    pub(super) others: Vec<String>,
}

/// What the runs say; `all` are those of every size of cluster.
pub(super) fn of(
    columns: &[Column<'_>],
    all: &[Column<'_>],
    comparisons: &[Comparison],
) -> Summary {
    if columns.is_empty() {
        return Summary {
            headline: vec!["No run was completed, so there is nothing to compare.".to_owned()],
            others: Vec::new(),
        };
    }
    let losses::Sentences {
        sessions,
        failures,
        others,
    } = losses::sentences(columns);
    let revocation: Vec<String> = [
        revocation::by_an_operator(columns),
        revocation::sentence(columns),
    ]
    .into_iter()
    .flatten()
    .collect();
    // Room for each kind: who was logged out, then who waited, then whom a logout protects.
    let room = HEADLINE - usize::from(!failures.is_empty()) - revocation.len();
    let mut sessions = sessions.into_iter();
    let mut failures = failures.into_iter();
    let mut headline: Vec<String> = sessions.by_ref().take(room).collect();
    headline.extend(failures.next());
    headline.extend(revocation);
    let mut rest: Vec<String> = sessions.chain(failures).chain(others).collect();
    rest.extend(anomalies::sentences(all));
    rest.extend(costs::sentences(columns, comparisons));
    let mut rest = rest.into_iter();
    // Without a fault there is less to remember, and the first of the rest matters most.
    let missing = (HEADLINE - 1).saturating_sub(headline.len());
    headline.extend(rest.by_ref().take(missing));
    Summary {
        headline,
        others: rest.collect(),
    }
}

fn names<'a>(strategies: impl Iterator<Item = &'a str>) -> String {
    list(&strategies.map(str::to_owned).collect::<Vec<_>>())
}
