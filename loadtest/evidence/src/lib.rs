//! What a run proved. Pure: no process, no network, no async, no clock of its own.
//!
//! # Layout, in the direction in which data flows
//! * [`history`]: everything that happened in one run, one line each, in one file.
//! * [`checker`] and [`statistics`]: history to figures, kept in [`results`].
//! * [`expectations`]: what had to come out, by the strategies' theory and by the scenario.
//! * [`strategy`]: what a node says of its strategies. [`part`]: the words for the parts of a cluster. [`pace`]: when users act. [`random`]: numbers that repeat with the seed.
//! * [`format`](mod@format): numbers as people read them.

pub mod checker;
pub mod expectations;
pub mod format;
pub mod history;
pub mod pace;
pub mod part;
pub mod random;
pub mod results;
#[cfg(any(test, feature = "samples"))]
pub mod sample;
pub mod statistics;
pub mod strategy;
