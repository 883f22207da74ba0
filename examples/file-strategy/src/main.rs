//! The app node with one strategy more: `file-shop --strategies file --session-folder PATH …`, and every flag of `shop`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let kinds = [session::KINDS, &[&file_strategy::Kind]].concat();
    shop::run(&kinds)
}
