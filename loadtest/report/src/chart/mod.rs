//! Charts as SVG, drawn by hand: geometry is computed here, the markup is in `templates/*.svg`, colours are in the page's
//! style sheet. Each chart has a title and a description for those who cannot see it, and never speaks by colour alone.

mod bands;
pub(super) mod latency;
mod marks;
pub(super) mod multiple;
pub(super) mod scale_out;
pub(super) mod timeline;

use evidence::format;

/// Pixels of the drawing, which scales with the page.
const WIDTH: f64 = 820.0;

/// A place on an axis with its label.
pub(super) struct Tick {
    /// Pixels.
    pub(super) at: f64,
    /// What is written there.
    pub(super) label: String,
}

/// Maps values to pixels, in equal steps or in equal factors.
#[derive(Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
    logarithmic: bool,
}

impl Scale {
    /// Equal steps. A range without extent becomes one of extent 1.
    fn linear((low, high): (f64, f64), (start, end): (f64, f64)) -> Self {
        Self {
            low,
            high: if high > low { high } else { low + 1.0 },
            start,
            end,
            logarithmic: false,
        }
    }

    /// Equal factors, for values above 0.
    fn logarithmic((low, high): (f64, f64), (start, end): (f64, f64)) -> Self {
        let low = low.max(f64::MIN_POSITIVE);
        Self {
            low,
            high: if high > low { high } else { low * 10.0 },
            start,
            end,
            logarithmic: true,
        }
    }

    /// The pixel of a value; values beyond the ends stay at the ends.
    fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let part = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.start + part * (self.end - self.start)
    }

    /// Round values inside the range, about `wanted` of them.
    fn round_values(&self, wanted: f64) -> Vec<f64> {
        let span = self.high - self.low;
        let rough = span / wanted.max(1.0);
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * magnitude)
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let first = (self.low / step).ceil();
        (0..=100)
            .map(|n| (first + f64::from(n)) * step)
            .take_while(|value| *value <= self.high + step * 1e-6)
            .collect()
    }

    /// 1, 10, 100 … inside the range; 2 and 5 as well where that leaves fewer than three.
    fn decades(&self) -> Vec<f64> {
        let between = |factors: &[f64]| -> Vec<f64> {
            let from = self.low.log10().floor();
            let decades = (self.high.log10().ceil() - from).max(0.0);
            (0..=20)
                .map(f64::from)
                .take_while(|n| *n <= decades)
                .flat_map(|n| {
                    factors
                        .iter()
                        .map(move |factor| factor * 10f64.powf(from + n))
                })
                .filter(|value| *value >= self.low * 0.999 && *value <= self.high * 1.001)
                .collect()
        };
        let whole = between(&[1.0]);
        if whole.len() >= 3 {
            whole
        } else {
            between(&[1.0, 2.0, 5.0])
        }
    }
}

/// A time on an axis: `100 µs`, `1 ms`, `2 s`, without needless zeros.
fn axis_time(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 999.5 => (us, "µs"),
        us if us < 999_500.0 => (us / 1e3, "ms"),
        _ => (us / 1e6, "s"),
    };
    format!("{} {unit}", plain(value))
}

/// A number on an axis, without needless zeros.
fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match text.parse::<u64>() {
        Ok(whole) => format::count(whole),
        Err(_) => text.to_owned(),
    }
}

/// A label that fits beside a drawing; the whole name is in the legend or the text.
fn shortened(label: &str, characters: usize) -> String {
    if label.chars().count() <= characters {
        return label.to_owned();
    }
    let kept: String = label.chars().take(characters.saturating_sub(1)).collect();
    kept + "…"
}

/// A coordinate with the precision that a screen can show.
fn px(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_map_their_ends_and_clamp_beyond() {
        let scale = Scale::linear((0.0, 10.0), (100.0, 200.0));
        for (value, pixel) in [(0.0, 100.0), (5.0, 150.0), (10.0, 200.0), (99.0, 200.0)] {
            assert!((scale.at(value) - pixel).abs() < 1e-9, "{value}");
        }
        let scale = Scale::logarithmic((1.0, 100.0), (0.0, 2.0));
        assert!((scale.at(10.0) - 1.0).abs() < 1e-9);
        assert!(
            scale.at(0.0).abs() < 1e-9,
            "zero has no logarithm and goes to the end"
        );
    }

    #[test]
    fn a_range_without_extent_divides_by_nothing() {
        assert!(Scale::linear((0.0, 0.0), (0.0, 1.0)).at(0.0).is_finite());
        assert!(
            Scale::logarithmic((5.0, 5.0), (0.0, 1.0))
                .at(5.0)
                .is_finite()
        );
        assert!(
            Scale::logarithmic((0.0, 0.0), (0.0, 1.0))
                .at(0.0)
                .is_finite()
        );
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let values = Scale::linear((0.0, 870.0), (0.0, 1.0)).round_values(4.0);
        assert_eq!(values, [0.0, 500.0]);
        assert_eq!(
            Scale::linear((0.0, 30.0), (0.0, 1.0)).round_values(8.0),
            [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]
        );
        let decades = Scale::logarithmic((300.0, 4_000.0), (0.0, 1.0)).decades();
        assert_eq!(
            decades.iter().map(|us| axis_time(*us)).collect::<Vec<_>>(),
            ["500 µs", "1 ms", "2 ms"]
        );
    }
}
