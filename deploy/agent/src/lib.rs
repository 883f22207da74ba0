//! The small supervisor beside each process of the lab.
//!
//! An [`Agent`] starts one process, knows when it is ready, kills, stops, pauses, resumes and restarts it, and reads its
//! CPU time and memory. Each of these returns only after its effect was seen in `/proc`, because a fault that did not
//! take effect must never count as one. When the agent goes, however it goes, its process goes too.
//!
//! # Layout
//! * [`Agent`] (`agent.rs`): one process over all its lives, from [`ProcessSpec`] (`spec.rs`) to [`Usage`].
//! * `process.rs`: one life, from fork to reaping, on a thread of its own.
//! * [`QuotaError`], [`Throttled`] (`cgroup.rs`): a limit of CPU time for a process and all that it forks.
//! * [`Ready`] (`ready.rs`): when a process may be called ready.
//! * [`probe`]: whether the server behind a URL answers.
//! * [`link`]: a proxy on the way between two processes, which delays, throttles, breaks off or swallows.
//! * [`resp`]: just enough of Redis' protocol to ask a store how it is.
//! * [`procfs`]: what `/proc` says about a process, as pure parsers.
//! * [`ports`]: which port is free, and who has one that is not.
//! * `Remote` (`remote.rs`, feature `remote`): an agent elsewhere, with the methods of [`Agent`]; [`wire`]: what goes over its
//!   control port.
//! * [`addresses`]: what others on its networks call this machine.
//! * [`limit`]: how much CPU a container may use. [`files`]: how many files a program may have open (of `listen`).
//! * [`AgentError`] (`error.rs`): what can go wrong.
//!
//! The binary `agent` (`main.rs` and what it names) is PID 1 of every container: an [`Agent`] with a control port.
//!
//! # Left to others
//! Which processes there are and in what order they start (the cluster in `loadtest`), when a fault happens and what it
//! means (scenario and checker).

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "both panic when the reader has gone"
)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "The lab needs Linux: its cluster is a set of processes on loopback. Elsewhere, run the same cluster in containers (docs/containers.md)."
);

pub mod addresses;
mod agent;
mod cgroup;
mod error;
pub mod limit;
pub mod link;
pub mod ports;
pub mod probe;
mod process;
pub mod procfs;
mod ready;
#[cfg(feature = "remote")]
mod remote;
pub mod resp;
mod spec;
pub mod wire;

pub use agent::{Agent, Usage};
pub use cgroup::{QuotaError, Throttled};
pub use error::AgentError;
pub use listen::files;
pub use ready::Ready;
#[cfg(feature = "remote")]
pub use remote::Remote;
pub use spec::ProcessSpec;
