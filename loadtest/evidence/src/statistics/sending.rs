//! When an operation was due, when its user was free for it, and when it was sent.

/// When an operation was wanted, possible and sent.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_field_names,
    reason = "a time says its unit, here as everywhere"
)]
pub(super) struct Sending {
    pub(super) intended_us: i64,
    /// When its user had the answer to what it did before.
    pub(super) free_us: i64,
    pub(super) sent_us: i64,
}

impl Sending {
    /// What the generator is late by: from the moment at which the operation was due and its user free. (That no user is
    /// free is not the generator's slowness; [`super::arrivals`] judges that.)
    pub(super) fn lag_us(self) -> u64 {
        u64::try_from(self.sent_us - self.intended_us.max(self.free_us)).unwrap_or(0)
    }
}
