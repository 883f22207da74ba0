//! Whether there is room on the disk. A run on a full one would still come to its end, but with a history that breaks off and
//! with a store and nodes that fail for want of room, and all of that would be taken for the strategy's doing.

use std::path::Path;
use std::time::Duration;

use rustix::fs::statvfs;

use crate::exit::{Exit, Failure};

/// More than a history grows by between two looks, at some 20,000 operations a second.
const LEAST_BYTES: u64 = 16 << 20;
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether each of the folders has room.
pub(super) fn check(folders: &[&Path]) -> Result<(), Failure> {
    folders.iter().try_for_each(|folder| {
        // A file system that does not say is not full; a folder that is not there has an error of its own elsewhere.
        let Ok(found) = statvfs(*folder) else {
            return Ok(());
        };
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free >= LEAST_BYTES {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Invalid,
            format!(
                "the disk is full: {} has {} KiB left. A run on a full disk proves nothing, so it was ended. Make room, or choose other \
                 folders (--out for histories, TMPDIR for the logs and the store of the cluster)",
                folder.display(),
                free / 1024
            ),
        ))
    })
}

/// Waits until one of them has none.
pub(super) async fn full(folders: &[&Path]) -> Failure {
    loop {
        if let Err(failure) = check(folders) {
            return failure;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
