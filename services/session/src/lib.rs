//! Where the state of a login lives: one trait, one file per strategy.
//!
//! # Layout
//! * [`strategy`]: the trait [`Strategy`] that every strategy implements.
//! * [`table`]: the strategies, and [`kind`]: a row of it. [`about`](mod@about): what each says of itself. [`settings`]: what an
//!   operator may set.
//!   [`host`]: what a strategy is given by the program that serves it. [`theory`]: what it says of faults beforehand.
//! * [`sticky`]: state in this node's memory; the load balancer must send a client to the same node.
//! * [`redis`]: state in one Redis that all nodes share. Its scripts are the `.lua` files beside it.
//! * [`jwt`]: no state on any server; the client carries it, signed.
//! * [`throttle`]: how many logins may be tried, whichever the strategy.
//! * [`cart`], [`credential`], [`clock`], [`error`]: the words that the strategies share.
//!
//! This crate knows no web framework. Cookies, headers and status codes are the business of `shop`.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "The lab needs Linux: its cluster is a set of processes on loopback. Elsewhere, run the same cluster in containers (docs/containers.md)."
);

pub mod about;
pub mod cart;
pub mod clock;
pub mod credential;
pub mod error;
pub mod host;
pub mod jwt;
pub mod kind;
pub mod redis;
mod secret;
pub mod settings;
pub mod sticky;
pub mod strategy;
pub mod table;
pub mod theory;
pub mod throttle;

pub use about::{About, StateLives};
pub use cart::{Cart, Change, Line};
pub use clock::Clock;
pub use credential::{Credential, Part};
pub use error::{Error, Unfit};
pub use host::Host;
pub use kind::Kind;
pub use settings::{Secret, Setting, Values};
pub use strategy::{Answer, Eviction, KeyInUse, Listed, LoggedOut, Session, StoreUse, Strategy};
pub use table::{KINDS, about};
pub use throttle::Throttle;
