//! The load balancer. Everything is in the library.

use std::process::ExitCode;

/// A request is many small allocations that do not live long: what this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    load_balancer::run()
}
