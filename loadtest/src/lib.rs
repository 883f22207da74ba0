//! The lab: brings a cluster up, drives users through it, breaks it, and says what was lost.
//!
//! # Layout, in the direction in which data flows
//! * [`scenario`]: an experiment as data (TOML).
//! * [`cluster`]: the processes on loopback; [`up`] is `lab up`.
//! * [`attack`]: the users (goose) in a child process, and the recorder beside them, which writes the [`history`].
//! * [`checker`] and [`statistics`]: history to figures.
//! * [`run`], [`demo`]: one scenario over all strategies, from start to [`results`].
//! * [`report`]: results to terminal table, HTML, Markdown.
//! * [`exit`]: how `lab` ends.

pub mod attack;
pub mod checker;
pub mod cluster;
pub mod demo;
pub mod exit;
pub mod history;
pub mod report;
pub mod results;
pub mod run;
pub mod scenario;
pub mod statistics;
pub mod up;
