//! Numbers as people read them: three significant digits, thousands separators, one unit a row. Every report uses these
//! functions and no other, so that a figure looks the same wherever it is printed.

/// Stands where a figure was not measured. Never 0: a zero is a measurement.
pub const NOT_MEASURED: &str = "–";

/// A measured value with three significant digits: `0.0123`, `1.23`, `812`, `12,300`.
pub fn figure(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 {
            "0".to_owned()
        } else {
            NOT_MEASURED.to_owned()
        };
    }
    // Scientific notation rounds to the digits wanted, carries (9.996 → 1.00e1) and tells the exponent.
    let scientific = format!("{value:.2e}");
    let exponent = scientific
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse::<i32>().ok())
        .unwrap_or(0);
    let rounded: f64 = scientific.parse().unwrap_or(value);
    let decimals = usize::try_from(2 - exponent).unwrap_or(0).min(6);
    separated(&format!("{rounded:.decimals$}"))
}

/// A count, exact, with thousands separators: `24,310`.
pub fn count(value: u64) -> String {
    separated(&value.to_string())
}

/// A part of a whole in percent. Says `0 %` and `100 %` only when it is so.
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return NOT_MEASURED.to_owned();
    }
    let percent = 100.0 * part as f64 / whole as f64;
    match percent {
        _ if part == 0 => "0 %".to_owned(),
        _ if part == whole => "100 %".to_owned(),
        p if p < 0.1 => "< 0.1 %".to_owned(),
        p if p < 9.95 => format!("{p:.1} %"),
        p if !(99.5..=100.0).contains(&p) => format!("{p:.0} %"),
        _ => "> 99 %".to_owned(),
    }
}

/// `51 of 150 (34 %)`; without the share when there is no whole.
pub fn part_of(part: u64, whole: u64) -> String {
    if whole == 0 {
        return format!("{} of 0", count(part));
    }
    format!(
        "{} of {} ({})",
        count(part),
        count(whole),
        share(part, whole)
    )
}

/// `51 (34 %)`, where the whole stands nearby.
pub fn with_share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return count(part);
    }
    format!("{} ({})", count(part), share(part, whole))
}

/// `51/150`, where there is little room.
pub fn part_of_short(part: u64, whole: u64) -> String {
    format!("{}/{}", count(part), count(whole))
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// `1 session`, `2 sessions`.
pub fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// The unit of a row of times. All cells of a row, and all rows that are read together, share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
}

impl TimeUnit {
    /// The unit in which `largest_us` needs at most four digits before the point.
    pub fn for_largest(largest_us: f64) -> Self {
        match largest_us {
            us if us < 1_000.0 => Self::Us,
            us if us < 10_000_000.0 => Self::Ms,
            _ => Self::S,
        }
    }

    /// As printed beside the row's title.
    pub fn name(self) -> &'static str {
        match self {
            Self::Us => "µs",
            Self::Ms => "ms",
            Self::S => "s",
        }
    }

    /// The number alone.
    pub fn show(self, us: f64) -> String {
        figure(match self {
            Self::Us => us,
            Self::Ms => us / 1e3,
            Self::S => us / 1e6,
        })
    }
}

/// A time in the unit that fits it: `412 µs`, `1.24 ms`, `12.0 s`, `30 min`.
pub fn time(us: f64) -> String {
    if us == 0.0 {
        return "0 s".to_owned();
    }
    if us >= 120e6 {
        return format!("{} min", figure(us / 60e6).trim_end_matches(".0"));
    }
    let unit = match us {
        us if us < 1_000.0 => TimeUnit::Us,
        us if us < 1_000_000.0 => TimeUnit::Ms,
        _ => TimeUnit::S,
    };
    format!("{} {}", unit.show(us), unit.name())
}

/// A point in a run: seconds with one decimal.
pub fn moment(ms: u64) -> String {
    separated(&format!("{:.1}", ms as f64 / 1e3))
}

/// Commas between thousands, left of the point.
fn separated(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let (sign, digits) = whole
        .strip_prefix('-')
        .map_or(("", whole), |digits| ("-", digits));
    let mut out = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_significant_digits() {
        let cases = [
            (0.0, "0"),
            (0.012_34, "0.0123"),
            (1.0, "1.00"),
            (1.234, "1.23"),
            (9.996, "10.0"),
            (99.96, "100"),
            (812.4, "812"),
            (999.6, "1,000"),
            (12_345.0, "12,300"),
            (1_234_567.0, "1,230,000"),
            (-4_200.0, "-4,200"),
        ];
        for (value, expected) in cases {
            assert_eq!(figure(value), expected, "{value}");
        }
    }

    #[test]
    fn nothing_that_is_not_a_number_is_printed_as_one() {
        assert_eq!(figure(f64::NAN), NOT_MEASURED);
        assert_eq!(figure(f64::INFINITY), NOT_MEASURED);
        assert_eq!(share(0, 0), NOT_MEASURED);
    }

    #[test]
    fn a_share_says_nothing_and_all_only_when_it_is_so() {
        let cases = [
            (0, 10, "0 %"),
            (1, 100_000, "< 0.1 %"),
            (1, 200, "0.5 %"),
            (51, 150, "34 %"),
            (9_999, 10_000, "> 99 %"),
            (10, 10, "100 %"),
        ];
        for (part, whole, expected) in cases {
            assert_eq!(share(part, whole), expected, "{part} of {whole}");
        }
    }

    #[test]
    fn counts_are_exact() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn times_choose_a_unit() {
        assert_eq!(time(0.0), "0 s");
        assert_eq!(time(412.0), "412 µs");
        assert_eq!(time(1_240.0), "1.24 ms");
        assert_eq!(time(12_000_000.0), "12.0 s");
        assert_eq!(time(1_800_000_000.0), "30 min");
        assert_eq!(moment(10_049), "10.0");
        assert_eq!(TimeUnit::for_largest(999.0), TimeUnit::Us);
        assert_eq!(TimeUnit::for_largest(2_000_000.0), TimeUnit::Ms);
        assert_eq!(TimeUnit::for_largest(2e7), TimeUnit::S);
    }

    #[test]
    fn lists_read_as_a_sentence() {
        let items = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(list(&items[..0]), "");
        assert_eq!(list(&items[..1]), "a");
        assert_eq!(list(&items[..2]), "a and b");
        assert_eq!(list(&items), "a, b and c");
    }
}
