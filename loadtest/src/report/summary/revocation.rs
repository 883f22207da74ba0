//! The sentence about what a logout is worth.

use super::names;
use crate::report::format::{list, time};
use crate::report::table::Column;

/// "After its logout a credential was accepted for another 29.8 s in jwt; sticky and redis refused it at once." `None` where
/// nobody tried.
pub(super) fn sentence(columns: &[Column<'_>]) -> Option<String> {
    let tried: Vec<(&str, u64)> = columns
        .iter()
        .filter_map(|column| {
            let longest = column.runs.iter().filter_map(|run| run.revocation_ms);
            Some((column.strategy, longest.map(|alive| alive.max).max()?))
        })
        .collect();
    let refused = names(
        tried
            .iter()
            .filter(|(_, ms)| *ms == 0)
            .map(|(name, _)| *name),
    );
    let accepted: Vec<String> = tried
        .iter()
        .filter(|(_, ms)| *ms > 0)
        .map(|(name, ms)| format!("{} in {name}", time(*ms as f64 * 1e3)))
        .collect();
    match (accepted.as_slice(), refused.as_str()) {
        ([], "") => None,
        ([], refused) => Some(format!(
            "After its logout a credential was refused at once in {refused}."
        )),
        (accepted, "") => Some(format!(
            "After its logout a credential was accepted for up to another {}.",
            list(accepted)
        )),
        (accepted, refused) => Some(format!(
            "After its logout a credential was accepted for up to another {}; in {refused} it was refused at once.",
            list(accepted)
        )),
    }
}
