//! Numbers with their units, for the plan: bytes and bits in steps of a thousand.

use evidence::format::{count, figure};

/// A number that somebody gave, as it was given.
pub(super) fn plain(given: f64) -> String {
    given.to_string()
}

/// A whole number.
pub(super) fn number(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts: positive, and far below what 64 bits hold"
    )]
    count(value as u64)
}

/// `394 MB`
pub(super) fn bytes(value: f64) -> String {
    scaled(value, &["bytes", "kB", "MB", "GB", "TB", "PB"])
}

/// `62.0 Mbit/s`
pub(super) fn bandwidth(bits_a_second: f64) -> String {
    scaled(
        bits_a_second,
        &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"],
    )
}

fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for next in units {
        if value < 999.5 {
            break;
        }
        value /= 1e3;
        unit = next;
    }
    format!("{} {unit}", figure(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_fit_the_size() {
        assert_eq!(bytes(999.0), "999 bytes");
        assert_eq!(bytes(999.6), "1.00 kB");
        assert_eq!(bytes(3.94e11), "394 GB");
        assert_eq!(bandwidth(6.2e7), "62.0 Mbit/s");
    }
}
