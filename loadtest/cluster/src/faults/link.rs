//! Faults of a link. In effect is what a probe meets that goes the same way as the requests: through the proxy, to the
//! target, and back.

use std::time::{Duration, Instant};

use agent::link::{Disturbance, Met};

use super::{FaultError, Seen};
use crate::{Cluster, LinkName, STORE, links::Proxy};

/// A black hole is believed after this much silence: hundreds of times what an answer takes on loopback.
const SILENCE: Duration = Duration::from_millis(250);

/// For an undisturbed answer, and beyond what a disturbance makes it take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What a probe carries there, so that a narrow link has something to be slow with.
const LOAD_BYTES: usize = 2 * 1024;

/// A link that is disturbed.
pub(super) struct Disturbed<'a> {
    name: &'a LinkName,
    link: Proxy<'a>,
    disturbance: Disturbance,
    /// What makes the target answer and close.
    question: String,
}

impl<'a> Disturbed<'a> {
    /// `None` where no proxy stands on the link.
    pub(super) fn new(
        cluster: &'a Cluster,
        name: &'a LinkName,
        disturbance: Disturbance,
    ) -> Option<Self> {
        let load = "x".repeat(LOAD_BYTES);
        let question = if name.to == STORE {
            let password = cluster.store_password()?;
            format!("AUTH {password}\r\n*2\r\n$4\r\nPING\r\n${LOAD_BYTES}\r\n{load}\r\nQUIT\r\n")
        } else {
            format!(
                "GET /metrics HTTP/1.1\r\nhost: node\r\nx-load: {load}\r\nconnection: close\r\n\r\n"
            )
        };
        Some(Self {
            name,
            link: cluster.link(name)?,
            disturbance,
            question,
        })
    }

    pub(super) async fn command(&self) -> Result<Seen, FaultError> {
        let living = self.link.connections().await?;
        self.link.disturb(self.disturbance).await?;
        let patience = match self.disturbance {
            Disturbance::Blackhole { .. } => SILENCE,
            Disturbance::Delay { by, .. } => ANSWER_WITHIN + 2 * by,
            // 64 KiB are more than there and back together.
            Disturbance::Bandwidth { bytes_per_s, .. } => {
                ANSWER_WITHIN + Duration::from_secs_f64(65_536.0 / bytes_per_s as f64)
            }
            Disturbance::Reset => ANSWER_WITHIN,
        };
        let since = Instant::now();
        let met = self.link.probe(&self.question, patience).await?;
        if !self.shows(&met) {
            return Err(self.not(describe(self.disturbance), &met));
        }
        let how = format!(
            "a probe {}; connections that suffer the same: {living}",
            met.words()
        );
        Ok(Seen { how, since })
    }

    pub(super) async fn undo(&self) -> Result<String, FaultError> {
        self.link.heal().await?;
        let met = self.link.probe(&self.question, ANSWER_WITHIN).await?;
        match met {
            Met::Answer(bytes, _) if bytes > 0 => Ok(format!("a probe {}", met.words())),
            _ => Err(self.not("well again".into(), &met)),
        }
    }

    /// Whether that is what the disturbance does.
    fn shows(&self, met: &Met) -> bool {
        match (self.disturbance, met) {
            (Disturbance::Reset, Met::Reset) | (Disturbance::Blackhole { .. }, Met::Silence(_)) => {
                true
            }
            (Disturbance::Delay { by, direction }, Met::Answer(bytes, took)) => {
                let ways = u32::from(direction.means_there()) + u32::from(direction.means_back());
                *bytes > 0 && *took >= by * ways
            }
            (
                Disturbance::Bandwidth {
                    bytes_per_s,
                    direction,
                },
                Met::Answer(bytes, took),
            ) => {
                let there = usize::from(direction.means_there()) * self.question.len();
                let back = usize::from(direction.means_back()) * bytes;
                // A little less: the store answers the first lines before the last has arrived.
                let least = 0.9 * (there + back) as f64 / bytes_per_s as f64;
                *bytes > 0 && took.as_secs_f64() >= least
            }
            _ => false,
        }
    }

    fn not(&self, wanted: String, met: &Met) -> FaultError {
        FaultError::NotDisturbed {
            link: self.name.to_string(),
            wanted,
            found: met.words(),
        }
    }
}

fn describe(disturbance: Disturbance) -> String {
    match disturbance {
        Disturbance::Delay { by, .. } => format!("slower by {} ms", by.as_millis()),
        Disturbance::Bandwidth { bytes_per_s, .. } => {
            format!("limited to {} KiB/s", bytes_per_s / 1024)
        }
        Disturbance::Reset => "broken off".into(),
        Disturbance::Blackhole { .. } => "a black hole".into(),
    }
}
