//! The lab: brings a cluster up, drives users through it, breaks it, and says what was lost.
//!
//! # Layout, in the direction in which data flows
//! * [`scenario`]: an experiment as data (TOML); [`scenarios`]: those that come with the lab.
//! * [`cluster`]: the processes on loopback; [`up`] is `lab up`.
//! * [`faults`]: what is done to the cluster, each with the evidence that it took effect.
//! * [`attack`]: the users (goose) in a child process, and the recorder beside them, which writes the [`history`].
//! * [`checker`] and [`statistics`]: history to figures. [`check`]: a history judged again, by itself.
//! * [`expectations`]: what had to come out of it, by theory and by the scenario. [`target`]: who suffers a fault.
//! * [`run`], [`demo`]: one scenario over all strategies, from start to [`results`].
//! * [`report`]: results to terminal table, HTML, Markdown. [`plan`]: results to what a million sessions would need.
//! * `random`: numbers that repeat with the seed. [`output`]: what `lab` says. [`exit`]: how it ends; `signals`: who tells it to. `own_side`: what this
//!   machine could not do for a request. `leftovers`: what a lab that was killed has left.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "both panic when the reader has gone"
)]

pub mod attack;
pub mod check;
pub mod checker;
pub mod cluster;
mod compose;
pub mod demo;
pub mod exit;
pub mod expectations;
pub mod faults;
pub mod history;
mod leftovers;
pub mod on;
pub mod output;
mod own_side;
pub mod plan;
mod random;
pub mod report;
pub mod results;
pub mod run;
pub mod scenario;
pub mod scenarios;
pub mod secrets;
mod signals;
pub mod statistics;
pub mod target;
pub mod up;
pub mod wait;
