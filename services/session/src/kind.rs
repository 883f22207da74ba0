//! A row of the table of strategies: what one says of itself, what it can be set to, and how it is made.

use std::sync::Arc;

use crate::about::About;
use crate::{Host, Strategy, Unfit, Values};

/// A row of the table.
pub trait Kind: Send + Sync + 'static {
    /// What the strategy says of itself.
    fn about(&self) -> &'static About;

    /// Judges the values of [`About::settings`] together. Reads nothing, opens nothing.
    fn check(&self, values: &Values) -> Result<(), Unfit>;

    /// Makes the strategy from values that were checked. Needs a Tokio runtime. A store that is away is no error: the
    /// strategy is ready when the store is.
    fn build(&self, values: &Values, host: &Host) -> Result<Arc<dyn Strategy>, Unfit>;
}
