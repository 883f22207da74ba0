//! The table of strategies. Everything else follows from it: the flags, secrets and cookies of the node, the listeners of the
//! load balancer, what the lab starts and expects. So a strategy is its own file and one line here.

use crate::{About, Kind};

/// The strategies of this crate.
pub static KINDS: &[&dyn Kind] = &[&crate::sticky::Kind, &crate::redis::Kind, &crate::jwt::Kind];

/// What the strategy of this name says of itself; `None` where there is none.
pub fn about(name: &str) -> Option<&'static About> {
    let mut all = KINDS.iter().map(|kind| kind.about());
    all.find(|about| about.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::about::{Carriage, Ends, RoundTrips};
    use crate::credential::TOKEN;
    use crate::theory::Hit;
    use crate::{Setting, StateLives};

    fn rows() -> impl Iterator<Item = &'static About> {
        KINDS.iter().map(|kind| kind.about())
    }

    #[test]
    fn names_and_ports_are_there_once_and_fit_into_flags_and_metrics() {
        let names: BTreeSet<_> = rows().map(|about| about.name).collect();
        let ports: BTreeSet<_> = rows().map(|about| about.port).collect();
        assert_eq!((names.len(), ports.len()), (KINDS.len(), KINDS.len()));
        let is_fit = |sign: u8| sign.is_ascii_lowercase() || sign == b'-';
        assert!(names.iter().all(|name| name.bytes().all(is_fit)));
    }

    #[test]
    fn what_a_row_says_of_its_credential_agrees() {
        let mut cookies = BTreeSet::new();
        for about in rows() {
            assert!(about.cookies().all(|cookie| cookies.insert(cookie)));
            let first = &about.parts[0];
            assert_eq!(first.name, TOKEN);
            let is_presented = first.header == Some("authorization") && first.field.is_some();
            assert_eq!(
                is_presented,
                about.carriage == Carriage::Tokens,
                "{}",
                about.name
            );
        }
    }

    #[test]
    fn what_a_row_says_of_its_store_agrees() {
        for about in rows() {
            let lives_there = about.state_lives == StateLives::Store;
            let is_asked = about.round_trips != RoundTrips::NONE;
            assert!(
                about.store.is_some() || !(lives_there || is_asked),
                "{}",
                about.name
            );
        }
    }

    #[test]
    fn how_sessions_end_can_be_set() {
        for about in rows() {
            let ends = match about.ends {
                Ends::Idle { idle, absolute } => vec![idle, absolute],
                Ends::Fixed { lifetime } => vec![lifetime],
            };
            for setting in ends {
                assert!(about.settings.iter().any(|one| std::ptr::eq(*one, setting)));
            }
        }
    }

    #[test]
    fn every_theory_speaks_of_everything_and_no_row_hides_another() {
        for about in rows() {
            let rows_for = |hit: Hit| about.theory.iter().filter(move |row| row.hit == hit);
            for hit in [Hit::Nothing, Hit::Revocation] {
                let one = rows_for(hit).map(|row| row.faults).collect::<Vec<_>>();
                assert_eq!(one, [&[""; 0]], "{}: {hit:?}", about.name);
            }
            assert!(rows_for(Hit::Anything).any(|row| row.faults.is_empty()));
            for (index, row) in about.theory.iter().enumerate() {
                let is_fault = !matches!(row.hit, Hit::Nothing | Hit::Revocation);
                let before = about.theory[..index].iter().filter(|other| {
                    other.hit == row.hit || (is_fault && other.hit == Hit::Anything)
                });
                let before: Vec<_> = before.map(|other| other.faults).collect();
                let hides = |fault| before.iter().any(|faults| faults.contains(&fault));
                let is_hidden = before.iter().any(|faults| faults.is_empty())
                    || (!row.faults.is_empty() && row.faults.iter().copied().all(hides));
                assert!(!is_hidden, "{}: row {index} is never used", about.name);
            }
        }
    }

    #[test]
    fn a_flag_means_one_setting() {
        let mut all: Vec<&Setting> = rows().flat_map(|about| about.settings).copied().collect();
        all.sort_by_key(|setting| (setting.flag, std::ptr::from_ref(*setting)));
        all.dedup_by(|one, other| std::ptr::eq(*one, *other));
        assert!(all.windows(2).all(|two| two[0].flag != two[1].flag));
    }
}
