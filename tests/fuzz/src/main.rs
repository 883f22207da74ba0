//! One program for all targets: libFuzzer's, which calls the target named by `FUZZ_TARGET`. See `tests/fuzz/run`.

#![no_main]
#![allow(
    unsafe_code,
    missing_docs,
    reason = "what libFuzzer calls has a name that is not mangled"
)]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fuzz::Check> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = fuzz::TARGETS.iter().find(|(other, _)| *other == name);
    let Some((_, check)) = found else {
        eprintln!("fuzz: FUZZ_TARGET names no target: {name:?}");
        std::process::exit(2);
    };
    *check
});

fuzz_target!(|input: &[u8]| TARGET(input));
