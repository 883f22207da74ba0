//! The lab: brings a cluster up, drives users through it, breaks it, and says what was lost.
//!
//! # Layout, in the direction in which data flows

pub mod exit;
pub mod results;
