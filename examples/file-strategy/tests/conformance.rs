//! The strategy does what it says of itself: the same checks as for those of the lab.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test reports, in its helpers too"
)]

use file_strategy::FOLDER;
use session::settings::Text;
use session::{Secret, Values};

#[test]
fn it_does_what_it_declares() {
    let folder = tempfile::tempdir().unwrap();
    let path = Text {
        value: Secret::new(folder.path().to_str().unwrap()),
        on_command_line: true,
    };
    let values = Values::default().with_text(&FOLDER, path);
    conformance::suite(&file_strategy::Kind, &values);
}
