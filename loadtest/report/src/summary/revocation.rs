//! The sentences about what a logout is worth, and what an operator's revocation.

use super::names;
use crate::table::Column;
use evidence::format::{list, part_of, time};
use evidence::results::Revocations;

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

/// "After an operator had ended all logins of a user, a credential was still accepted from 41 of 58 sessions in sticky, for up
/// to 19.2 s; in redis it was refused at once." `None` where no operator did.
pub(super) fn by_an_operator(columns: &[Column<'_>]) -> Option<String> {
    let tried = columns.iter().filter_map(|column| {
        let revoked = column.runs.iter().filter_map(|run| run.revocations);
        let all: Vec<Revocations> = revoked.filter(|one| one.sessions > 0).collect();
        (!all.is_empty()).then_some((column.strategy, all))
    });
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for (strategy, all) in tried {
        let sum = |value: fn(&Revocations) -> u64| all.iter().map(value).sum::<u64>();
        let outlived = sum(Revocations::accepted);
        if outlived == 0 {
            refused.push(strategy);
            continue;
        }
        let cannot = sum(|one| one.unsupported) == sum(|one| one.asked);
        let longest_ms = all.iter().filter_map(|one| Some(one.alive_ms?.max)).max();
        accepted.push(format!(
            "{} sessions in {strategy} for up to {}{}",
            part_of(outlived, sum(|one| one.sessions)),
            time(longest_ms.unwrap_or(0) as f64 * 1e3),
            if cannot { " (it cannot revoke)" } else { "" }
        ));
    }
    let refused = names(refused.into_iter());
    let lead = "After an operator had ended all logins of a user, the credential";
    match (accepted.as_slice(), refused.as_str()) {
        ([], "") => None,
        ([], refused) => Some(format!("{lead} was refused at once in {refused}.")),
        (accepted, "") => Some(format!(
            "{lead} was still accepted from {}.",
            list(accepted)
        )),
        (accepted, refused) => Some(format!(
            "{lead} was still accepted from {}; in {refused} it was refused at once.",
            list(accepted)
        )),
    }
}
