//! Requests as clients send them: head, body, and whatever follows.

use crate::{LISTENER, RUNTIME, judge::judge, step};

/// hyper reads from what was sent on what the client sent, however it arrived.
pub fn check(input: &[u8]) {
    let at_once = RUNTIME.block_on(judge(&LISTENER, input, usize::MAX));
    let in_pieces = RUNTIME.block_on(judge(&LISTENER, input, step(input)));
    let meanings = [at_once, in_pieces].map(|outcome| {
        let outcome = outcome?;
        // Of a refused request nobody knows how much was read by then.
        let rest = outcome.is_whole.then_some(outcome.rest.len());
        Some((outcome.refused, outcome.is_whole, rest.is_some()))
    });
    assert_eq!(meanings[0], meanings[1]);
}
