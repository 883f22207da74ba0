//! An operator ends all logins of a user: stories.

use super::*;
use crate::results::Revocations;

/// One login, the operator's `orders`, and what the user did afterwards.
fn story(orders: Vec<Operation>, afterwards: Vec<Operation>) -> History {
    let mut operations = vec![
        log_in(1, 1, 1, 0),
        add(1, 1, 2, 100),
        read(1, 1, 3, 200, &[2]),
    ];
    operations.extend(afterwards);
    let mut history = history(operations);
    history.revocations = orders;
    history
}

/// A strategy whose logins live in one node each.
fn of_nodes(mut history: History) -> History {
    history.meta.properties.revocable_at_once = false;
    history
}

fn revocations(history: &History) -> Revocations {
    check(history).revocations.unwrap()
}

#[test]
fn a_session_that_was_revoked_is_neither_lost_nor_owed_anything() {
    let history = story(
        vec![revoke(1, 1, 500, 1)],
        vec![
            browse(1, 1, 4, 600).refused(),
            log_in(1, 2, 5, 700),
            read(1, 2, 6, 11_000, &[]),
        ],
    );
    let verdict = check(&history);
    assert_eq!(verdict.anomalies, Anomalies::default());
    assert_eq!(verdict.logins_again, 0);
    assert_eq!(verdict.ends.why(&history.operations[3]), Some(End::Revoked));
    let revoked = verdict.revocations.unwrap();
    assert_eq!(
        (revoked.asked, revoked.acknowledged, revoked.sessions),
        (1, 1, 1)
    );
    assert_eq!(revoked.alive_ms, Some(Revocation { p50: 0, max: 0 }));
}

#[test]
fn what_is_accepted_afterwards_is_a_resurrection_and_its_time_is_told() {
    let history = story(
        vec![revoke(1, 1, 500, 1)],
        vec![browse(1, 1, 4, 600), browse(1, 1, 5, 800).refused()],
    );
    let verdict = check(&history);
    let expected = Anomalies {
        resurrection: 1,
        ..Anomalies::default()
    };
    assert_eq!(verdict.anomalies, expected);
    let witness = &verdict.witnesses[0];
    let told: Vec<&str> = witness
        .operations
        .iter()
        .map(|one| one.action.as_str())
        .collect();
    assert_eq!(told, ["log_in", "revoke", "browse"]);
    assert!(
        witness.sentence.contains("a revocation of all logins"),
        "{}",
        witness.sentence
    );
    // From the answer at 502 ms to the end of the last use at 602 ms.
    assert_eq!(revocations(&history).alive_ms.unwrap().max, 100);
}

#[test]
fn what_was_sent_before_the_answer_proves_nothing() {
    let history = story(
        vec![revoke(1, 1, 500, 1)],
        vec![browse(1, 1, 4, 501), browse(1, 1, 5, 800).refused()],
    );
    assert_eq!(check(&history).anomalies, Anomalies::default());
}

#[test]
fn a_login_on_another_node_is_exposed_and_is_lost_if_it_ends_later() {
    let escaped = |afterwards| of_nodes(story(vec![revoke(1, 1, 500, 0).on("node-2")], afterwards));
    let history = escaped(vec![
        read(1, 1, 4, 900, &[2]),
        log_out(1, 1, 5, 1_500),
        replay(1, 1, 6, 1_600),
    ]);
    let found = check(&history).anomalies;
    assert_eq!(
        (found.exposure, found.resurrection, found.session_lost),
        (1, 0, 0)
    );
    assert_eq!(revocations(&history).alive_ms.unwrap().max, 400);

    let history = escaped(vec![browse(1, 1, 4, 900), browse(1, 1, 5, 1_500).refused()]);
    let found = check(&history).anomalies;
    assert_eq!((found.exposure, found.session_lost), (1, 1));
    let history = escaped(vec![browse(1, 1, 5, 1_500).refused()]);
    assert_eq!(
        check(&history).anomalies.session_lost,
        1,
        "it ended nothing"
    );
}

#[test]
fn the_node_that_ended_it_must_not_accept_it_even_where_others_may() {
    let history = of_nodes(story(
        vec![revoke(1, 1, 500, 1)],
        vec![browse(1, 1, 4, 900), browse(1, 1, 5, 1_000).refused()],
    ));
    let found = check(&history).anomalies;
    assert_eq!(
        (found.exposure, found.resurrection, found.session_lost),
        (0, 1, 0)
    );
}

#[test]
fn a_strategy_that_cannot_revoke_exposes_what_goes_on() {
    let order = revoke(1, 1, 500, 0).unsupported();
    let history = of_nodes(story(vec![order], vec![read(1, 1, 4, 11_000, &[2])]));
    let verdict = check(&history);
    assert_eq!(verdict.anomalies.exposure, 1);
    let revoked = verdict.revocations.unwrap();
    assert_eq!((revoked.acknowledged, revoked.unsupported), (0, 1));
    assert_eq!((revoked.sessions, revoked.exposures), (1, 1));
}

#[test]
fn a_token_that_expired_says_nothing_of_the_revocation_before() {
    let order = revoke(1, 1, 500, 0).unsupported();
    let mut history = of_nodes(story(vec![order], vec![browse(1, 1, 4, 8_500).refused()]));
    history.meta.lifetime = Some(Lifetime {
        absolute_s: 8,
        idle_s: None,
    });
    assert_eq!(check(&history).anomalies, Anomalies::default());
    let revoked = revocations(&history);
    assert_eq!((revoked.sessions, revoked.alive_ms), (0, None));
}

#[test]
fn an_order_that_may_have_happened_excuses_both() {
    for last in [
        read(1, 1, 4, 11_000, &[2]),
        browse(1, 1, 4, 11_000).refused(),
    ] {
        let history = story(vec![revoke(1, 1, 500, 1).unknown()], vec![last]);
        assert_eq!(check(&history).anomalies, Anomalies::default());
        assert_eq!(revocations(&history).sessions, 0);
    }
    let history = story(
        vec![revoke(1, 1, 500, 1).failed()],
        vec![browse(1, 1, 4, 600).refused()],
    );
    assert_eq!(
        check(&history).anomalies.session_lost,
        1,
        "it certainly did not"
    );
}

#[test]
fn orders_about_others_and_before_the_login_excuse_nothing() {
    for order in [revoke(2, 1, 500, 1), revoke(1, 1, -500, 1)] {
        let history = story(vec![order], vec![browse(1, 1, 4, 600).refused()]);
        assert_eq!(check(&history).anomalies.session_lost, 1);
    }
}
