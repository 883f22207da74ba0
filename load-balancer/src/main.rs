//! The load balancer.
fn main() {}
