//! What a request costs, and what is handed to the client.

use session::Credential;
use session::about::RoundTrips;
use session::credential::Lasts;

use crate::lab::{Lab, add, remove};

pub(crate) async fn a_request_makes_as_many_round_trips_as_declared(lab: Lab) {
    let calls = || lab.a.store_use().map_or(0, |usage| usage.calls);
    let RoundTrips {
        login,
        read,
        change,
    } = lab.about.round_trips;
    // A store learns a script at its first use, which takes a round trip more. So the second time counts.
    for is_measured in [false, true] {
        let mut client = lab.login("alice").await;
        let mut before = calls();
        let mut expect = |declared: u32, what: &str| {
            let made = calls() - before;
            assert!(
                !is_measured || made == u64::from(declared),
                "{what}: {made}"
            );
            before = calls();
        };
        lab.a.authenticate(&client.credential).await.unwrap();
        expect(read, "authenticate");
        client.change(&*lab.a, add("a")).await.unwrap();
        expect(change, "add");
        lab.a.cart(&client.credential).await.unwrap();
        expect(read, "cart");
        client.change(&*lab.a, remove("a")).await.unwrap();
        expect(change, "remove");
        lab.turn(120);
        lab.a.authenticate(&client.credential).await.unwrap();
        expect(read, "authenticate and slide");
        let [alice, bob] = ["alice", "bob"].map(|name| lab.user(name));
        let own = lab.a.login(&alice, Some(&client.credential)).await;
        expect(login, "login, replacing one's own session");
        client.take(own.unwrap().reissued);
        let other = lab.a.login(&bob, Some(&client.credential)).await;
        expect(login, "login, replacing another user's session");
        client.take(other.unwrap().reissued);
        let _ = lab.a.sessions(&client.credential).await;
        expect(read, "sessions");
        lab.a.logout(&client.credential).await.unwrap();
        expect(change, "logout");
        let _ = lab.a.revoke(&alice).await;
        expect(change, "revoke");
        let malformed = Credential::new("nonsense");
        let refused = lab.a.authenticate(&malformed).await;
        assert!(refused.is_err());
        assert_eq!(calls(), before, "nonsense never reaches the store");
    }
}

pub(crate) async fn the_parts_of_a_credential_are_handed_out_when_declared(lab: Lab) {
    let named = |lasts| {
        let parts = lab.about.parts.iter();
        let parts = parts.filter(move |part| part.lasts == lasts);
        parts.map(|part| part.name).collect::<Vec<_>>()
    };
    let handed = |reissued: Option<Credential>| {
        let reissued = reissued.unwrap_or_default();
        let parts = reissued.parts().map(|(name, _)| name);
        parts.collect::<Vec<_>>()
    };
    let granted = lab.a.login(&lab.user("alice"), None).await.unwrap();
    assert_eq!(handed(granted.reissued.clone()), named(Lasts::Login));
    let credential = granted.reissued.unwrap();
    let changed = lab.a.change(&credential, add("a")).await.unwrap();
    assert_eq!(handed(changed.reissued), named(Lasts::Change));
}
