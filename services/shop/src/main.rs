//! The app node, with the strategies of this project. Everything is in the library.

use std::process::ExitCode;

/// Small allocations are a good part of what a request costs; this allocator makes them cheapest.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    shop::run(session::KINDS)
}
