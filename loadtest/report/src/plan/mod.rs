//! What so many sessions would need, for each strategy, from measured figures: nodes, the load balancer's cores, the store's
//! memory and shards, traffic, and the logins after a lost node. Every input is printed with where it comes from, every
//! result with its arithmetic. What no file measured is named as missing, never guessed.
//!
//! # Layout, in the direction in which data flows
//! * `inputs`: figures of each strategy, from results files; `targets`: what is wanted, from flags.
//! * `arithmetic`: one strategy, so many sessions, line by line.
//! * `page`: all of it as text; `units`: how its numbers look.

mod arithmetic;
mod inputs;
mod page;
mod targets;
mod units;

pub use page::of as page;
pub use targets::Targets;
