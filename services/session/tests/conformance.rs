//! Every strategy of the table does what its row says.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test reports, in its helpers too"
)]

mod support;

use session::settings::{Kept, Text};
use session::{KINDS, Secret, Values};

use support::store::Store;

#[test]
fn every_strategy_does_what_it_declares() {
    for kind in KINDS {
        let store = kind.about().store.map(|_| Store::start());
        let mut values = Values::default();
        for setting in kind.about().settings {
            values = match (setting.flag, &store) {
                ("redis-url", Some(store)) => {
                    let value = Secret::new(store.url());
                    let on_command_line = false;
                    let text = Text {
                        value,
                        on_command_line,
                    };
                    values.with_text(setting, text)
                }
                ("jwt-key-file", _) => {
                    let secret = Secret::new("thirty-two-bytes,-only-for-tests");
                    values.with_secret(setting, Kept { secret, path: None })
                }
                _ => values,
            };
        }
        conformance::suite(*kind, &values);
    }
}
