//! Medians and ranges over rounds. Figures of the same round are compared with each other, because a noisy neighbour
//! disturbs a round and not a station.

use std::fmt;

/// The median of several rounds, with the lowest and the highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    /// `None` where there is nothing to summarise.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => return None,
            even if even.is_multiple_of(2) => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Self {
            median,
            low: values[0],
            high: values[values.len() - 1],
        })
    }

    /// One figure by another, round by round; a round that lacks one of them is left out.
    pub(crate) fn ratio(figures: &[Option<f64>], by: &[Option<f64>]) -> Option<Self> {
        let pairs = figures.iter().zip(by);
        Self::of(pairs.filter_map(|(figure, by)| Some((*figure)? / (*by)?)))
    }
}

/// `8.92 (8.71–9.20)`.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, low, high } = *self;
        write!(f, "{} ({}–{})", number(median), number(low), number(high))
    }
}

/// Three digits, and thousands apart: `0.912`, `8.92`, `15.5`, `24,300`.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        v if v < 0.9995 => format!("{value:.3}"),
        v if v < 9.995 => format!("{value:.2}"),
        v if v < 99.95 => format!("{value:.1}"),
        v if v < 999.5 => format!("{value:.0}"),
        v => {
            let digits = v.log10().floor() - 2.0;
            let step = 10_f64.powf(digits);
            let text = format!("{:.0}", (value / step).round() * step);
            thousands(&text)
        }
    }
}

/// A whole number with thousands apart.
pub(crate) fn whole(value: usize) -> String {
    thousands(&value.to_string())
}

fn thousands(digits: &str) -> String {
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of([]), None);
        let text = |values: &[f64]| Spread::of(values.to_vec()).unwrap().to_string();
        assert_eq!(text(&[3.0, 1.0, 2.0]), "2.00 (1.00–3.00)");
        assert_eq!(text(&[4.0, 1.0, 2.0, 3.0]), "2.50 (1.00–4.00)");
        assert_eq!(text(&[8.924, 9.2, 8.71]), "8.92 (8.71–9.20)");
    }

    #[test]
    fn ratios_are_made_within_a_round() {
        // The second round was twice as slow for both: its ratio is the same, the ratio of the means would not show it.
        let figures = [Some(2.0), Some(4.0), None, Some(9.0)];
        let by = [Some(1.0), Some(2.0), Some(1.0), None];
        assert_eq!(
            Spread::ratio(&figures, &by).unwrap().to_string(),
            "2.00 (2.00–2.00)"
        );
        assert_eq!(Spread::ratio(&figures[2..], &by[2..]), None);
    }

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (0.9, "0.900"),
            (0.9999, "1.00"),
            (9.999, "10.0"),
            (15.46, "15.5"),
            (999.7, "1,000"),
            (24_329.0, "24,300"),
            (1_234_567.0, "1,230,000"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!((whole(64), whole(10_000)), ("64".into(), "10,000".into()));
    }
}
