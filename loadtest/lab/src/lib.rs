//! The lab: drives users through a cluster, breaks it, and says what was lost.
//!
//! # Layout, in the direction in which data flows
//! * [`scenario`]: an experiment as data (TOML); [`scenarios`]: those that come with the lab.
//! * [`attack`]: the users (goose) in a child process, and the recorder beside them, which writes the history.
//! * [`run`], [`demo`]: one scenario over all strategies, from start to results. [`up`]: a cluster to play with.
//! * [`check`]: a history judged again. [`report`](mod@report): results rendered again. [`plan`]: what a million sessions would need.
//! * [`generate`]: files of the repository that follow from the table of strategies.
//! * [`output`]: what `lab` says. [`exit`]: how it ends; `signals`: who tells it to. `own_side`: what this machine could not do
//!   for a request. [`on`]: where the cluster is; `compose`: the host's Docker; [`wait`], [`secrets`]: for containers.
//!
//! The cluster and its faults are the business of `cluster`, what a history proves of `evidence`, how it looks of `report`.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "both panic when the reader has gone"
)]

pub mod attack;
pub mod check;
mod compose;
pub mod demo;
pub mod exit;
pub mod generate;
pub mod on;
pub mod output;
mod own_side;
pub mod plan;
pub mod report;
pub mod run;
pub mod scenario;
pub mod scenarios;
pub mod secrets;
mod signals;
pub mod up;
pub mod wait;
