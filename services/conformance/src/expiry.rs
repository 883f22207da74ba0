//! How a session ends by itself.

use session::Error;
use session::about::Ends;

use crate::lab::{Lab, add};

/// Uses are written down once a minute, and the clocks of two nodes may differ by as much.
const SLACK_S: u64 = 60;

pub(crate) async fn an_unused_session_ends(lab: Lab) {
    let used = lab.login("alice").await;
    let unused = lab.login("alice").await;
    lab.turn(lab.unused_s().saturating_sub(2 * SLACK_S));
    let session = lab.a.authenticate(&used.credential).await.unwrap().value;
    let slides = session.expires_at > session.issued_at + lab.unused_s();
    assert_eq!(slides, matches!(lab.about.ends, Ends::Idle { .. }));
    lab.turn(3 * SLACK_S);
    assert!(!unused.is_logged_in(&*lab.a).await);
    assert_eq!(used.is_logged_in(&*lab.a).await, slides);
    if slides {
        let listed = lab.a.sessions(&used.credential).await.unwrap().value;
        assert_eq!(listed.len(), 1);
        lab.turn(lab.unused_s());
        let refused = lab.a.cart(&used.credential).await;
        assert!(matches!(refused, Err(Error::NotLoggedIn { .. })));
        let refused = lab.a.change(&used.credential, add("a")).await;
        assert!(matches!(refused, Err(Error::NotLoggedIn { .. })));
    }
}

pub(crate) async fn no_use_keeps_a_session_beyond_its_absolute_end(lab: Lab) {
    let mut client = lab.login("alice").await;
    let session = lab.a.authenticate(&client.credential).await.unwrap().value;
    let end = session.issued_at + lab.longest_s();
    let step_s = lab.unused_s() / 6 * 5;
    let mut last = session;
    while lab.clock.now() + step_s < end {
        lab.turn(step_s);
        let Ok(session) = lab.a.authenticate(&client.credential).await else {
            assert!(matches!(lab.about.ends, Ends::Fixed { .. }));
            return;
        };
        last = session.value;
        client.change(&*lab.a, add("a")).await.unwrap();
        assert!(last.expires_at <= end);
    }
    assert_eq!(last.expires_at, end);
    lab.turn(step_s);
    assert!(!client.is_logged_in(&*lab.a).await);
}
