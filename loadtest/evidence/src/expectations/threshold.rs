//! `expect = ["lines_lost == 0", "sticky: sessions_lost > 0"]`: what a scenario demands of its runs, beside what theory
//! predicts ([`super`] judges both).

use std::fmt;

use super::figures::{self, Figure};

/// `[strategy:] figure relation number`
#[derive(Clone, Debug)]
pub struct Threshold {
    /// Whose runs it is about; of all strategies if missing.
    pub strategy: Option<String>,
    /// What is compared.
    pub figure: &'static Figure,
    /// How.
    pub relation: Relation,
    /// With what, in the figure's unit.
    pub number: f64,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    Different,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

impl Relation {
    const ALL: [Self; 6] = [
        Self::Less,
        Self::AtMost,
        Self::Equal,
        Self::Different,
        Self::AtLeast,
        Self::More,
    ];

    /// As scenarios write it.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Equal => "==",
            Self::Different => "!=",
            Self::AtLeast => ">=",
            Self::More => ">",
        }
    }

    /// Whether it holds.
    #[expect(
        clippy::float_cmp,
        reason = "`== 0` of a count is meant to be exact; nobody writes it about a time"
    )]
    pub fn holds(self, observed: f64, number: f64) -> bool {
        match self {
            Self::Less => observed < number,
            Self::AtMost => observed <= number,
            Self::Equal => observed == number,
            Self::Different => observed != number,
            Self::AtLeast => observed >= number,
            Self::More => observed > number,
        }
    }
}

impl TryFrom<String> for Threshold {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (strategy, rest) = match text.split_once(':') {
            Some((strategy, rest)) => (Some(strategy.trim().to_owned()), rest),
            None => (None, text.as_str()),
        };
        let of_a_relation = |c: char| "<=>!".contains(c);
        let begin = rest.find(of_a_relation).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(begin);
        let end = rest.find(|c| !of_a_relation(c)).unwrap_or(rest.len());
        let (sign, number) = rest.split_at(end);
        let (name, number) = (name.trim(), number.trim());
        let figure = figures::named(name).ok_or_else(|| {
            format!(
                "there is no figure `{name}`; allowed are {}",
                figures::names()
            )
        })?;
        let relation = Relation::ALL
            .into_iter()
            .find(|relation| relation.sign() == sign)
            .ok_or_else(|| {
                format!(
                    "`{sign}` after `{name}` is no comparison; allowed are <, <=, ==, !=, >=, >, as in \
                     \"{name} < 500\""
                )
            })?;
        let number = number
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .ok_or_else(|| {
                format!("`{number}` is no number; an expectation reads like \"{name} {sign} 500\"")
            })?;
        Ok(Self {
            strategy,
            figure,
            relation,
            number,
        })
    }
}

/// Without the strategy, which stands beside it wherever it is shown.
impl fmt::Display for Threshold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            figure,
            relation,
            number,
            ..
        } = self;
        write!(formatter, "{} {} {number}", figure.name, relation.sign())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Threshold, String> {
        Threshold::try_from(text.to_owned())
    }

    #[test]
    fn a_threshold_is_understood_with_and_without_a_strategy() {
        let all = parsed("lines_lost == 0").unwrap();
        assert_eq!(all.strategy, None);
        assert_eq!(all.to_string(), "lines_lost == 0");
        let one = parsed(" sticky :unavailable_ms<500.5 ").unwrap();
        assert_eq!(one.strategy.as_deref(), Some("sticky"));
        assert_eq!(one.relation, Relation::Less);
        assert_eq!(one.to_string(), "unavailable_ms < 500.5");
        assert_eq!(
            parsed("revocation_ms.max >= 1").unwrap().relation,
            Relation::AtLeast
        );
    }

    #[test]
    fn mistakes_say_what_is_allowed() {
        let cases = [
            (
                "line_lost == 0",
                "there is no figure `line_lost`; allowed are sessions_lost, lines_lost,",
            ),
            ("", "there is no figure ``"),
            ("lines_lost", "`` after `lines_lost` is no comparison"),
            ("lines_lost = 0", "`=` after `lines_lost` is no comparison"),
            (
                "lines_lost => 0",
                "`=>` after `lines_lost` is no comparison",
            ),
            ("lines_lost == none", "`none` is no number"),
            ("lines_lost == inf", "`inf` is no number"),
            ("p99_us < 5 ms", "`5 ms` is no number"),
        ];
        for (text, said) in cases {
            let error = parsed(text).unwrap_err();
            assert!(error.starts_with(said), "{text}: {error}");
        }
    }

    #[test]
    fn relations_hold_at_their_edges() {
        let holding = |observed| {
            Relation::ALL
                .into_iter()
                .filter(|relation| relation.holds(observed, 5.0))
                .map(Relation::sign)
                .collect::<Vec<_>>()
        };
        assert_eq!(holding(4.0), ["<", "<=", "!="]);
        assert_eq!(holding(5.0), ["<=", "==", ">="]);
        assert_eq!(holding(6.0), ["!=", ">=", ">"]);
    }
}
