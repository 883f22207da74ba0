//! What is wrong with a scenario, and where in its text.

use std::ops::Range;

use toml::Spanned;

/// What is wrong, and where.
pub(super) struct Problem {
    pub(super) span: Option<Range<usize>>,
    pub(super) message: String,
}

pub(super) fn at<T>(place: &Spanned<T>, message: String) -> Problem {
    Problem {
        span: Some(place.span()),
        message,
    }
}

/// That a number is in its range.
pub(super) fn within<T: Copy + PartialOrd + std::fmt::Display>(
    value: &Spanned<T>,
    least: T,
    most: T,
    name: &str,
) -> Result<(), Problem> {
    let number = *value.get_ref();
    // Written so that a number that is none (NaN) is outside.
    if !(least..=most).contains(&number) {
        return Err(at(
            value,
            format!("`{name}` is {number}; allowed are {least} to {most}"),
        ));
    }
    Ok(())
}
