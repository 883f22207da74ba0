//! A table of figures: one column a strategy, rows in groups. Built once, drawn by each format in its own way.
//!
//! A strategy that ran more than once shows the median and, beside it, each run: the run is the unit of statistics.

use evidence::format;
use evidence::results::{Results, Run, of_one_size};
pub(super) use evidence::statistics::median;

/// The runs of one strategy, in the order in which they ran.
pub(super) struct Column<'a> {
    /// The strategy's name.
    pub(super) strategy: &'a str,
    /// At least one.
    pub(super) runs: Vec<&'a Run>,
}

/// One column for each strategy, in the order of their first runs. Of several sizes of cluster only the largest: figures of
/// different clusters have no median.
pub(super) fn columns(results: &Results) -> Vec<Column<'_>> {
    by_strategy(of_one_size(&results.runs))
}

/// The same with every run, for what must hold in all of them.
pub(super) fn all_columns(results: &Results) -> Vec<Column<'_>> {
    by_strategy(results.runs.iter())
}

fn by_strategy<'a>(runs: impl Iterator<Item = &'a Run>) -> Vec<Column<'a>> {
    let mut columns: Vec<Column<'a>> = Vec::new();
    for run in runs {
        match columns
            .iter_mut()
            .find(|column| column.strategy == run.strategy)
        {
            Some(column) => column.runs.push(run),
            None => columns.push(Column {
                strategy: &run.strategy,
                runs: vec![run],
            }),
        }
    }
    columns
}

/// Rows that belong together, under their heading.
pub(super) fn group(title: &str, rows: Vec<Row>) -> Group {
    Group {
        title: title.to_owned(),
        rows,
    }
}

/// The largest value of any run, which decides about the unit.
pub(super) fn largest(columns: &[Column<'_>], value: impl Fn(&Run) -> Option<f64>) -> f64 {
    let runs = columns.iter().flat_map(|column| &column.runs);
    runs.filter_map(|run| value(run)).fold(0.0, f64::max)
}

/// Rows in groups, and the strategies at the top.
pub(super) struct Table {
    /// What it shows.
    pub(super) caption: &'static str,
    /// Whether cells are words and not numbers.
    pub(super) words: bool,
    /// Whether cells show the lowest and the highest run instead of each.
    pub(super) spread: bool,
    /// The strategies.
    pub(super) columns: Vec<String>,
    /// Never empty groups.
    pub(super) groups: Vec<Group>,
}

/// Rows that belong together.
pub(super) struct Group {
    /// The group's heading; empty in a table that needs no groups.
    pub(super) title: String,
    /// In the order in which to print them.
    pub(super) rows: Vec<Row>,
}

/// One figure over all strategies.
pub(super) struct Row {
    /// What is measured.
    pub(super) label: String,
    /// In which unit; empty when the cells say it.
    pub(super) unit: &'static str,
    /// Whether it breaks the row above down further.
    pub(super) detail: bool,
    /// One for each column.
    pub(super) cells: Vec<Cell>,
}

/// One figure of one strategy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// The median, or the only run's value, or [`format::NOT_MEASURED`].
    pub(super) text: String,
    /// Each run's value when there is more than one run and they differ; or their range ([`Table::spread`]).
    pub(super) runs: Vec<String>,
    /// Whether it stands out in its row.
    pub(super) mark: Option<Mark>,
}

/// What stands out in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Better than all others.
    Best,
    /// Worse than all others.
    Worst,
}

impl Mark {
    /// In one character, because colour alone says nothing to many readers and to a printer.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Best => "★",
            Self::Worst => "▼",
        }
    }

    /// In a word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Worst => "worst",
        }
    }
}

impl Table {
    /// Whether some cell needs the footnote about what was not measured.
    pub(super) fn has_gaps(&self) -> bool {
        let rows = self.groups.iter().flat_map(|group| &group.rows);
        rows.flat_map(|row| &row.cells).any(Cell::is_gap)
    }

    /// What a reader must know to read the cells; `place` is where a format writes the runs beside the median.
    pub(super) fn notes(&self, place: &str) -> Vec<String> {
        let cells = || {
            let rows = self.groups.iter().flat_map(|group| &group.rows);
            rows.flat_map(|row| &row.cells)
        };
        let has_repeats = cells().any(|cell| !cell.runs.is_empty());
        let mut notes = Vec::new();
        if has_repeats {
            notes.push(if self.spread {
                format!("Medians; {place} the lowest and the highest run.")
            } else {
                format!("Medians; {place} each run, where they differ.")
            });
        }
        if cells().any(|cell| cell.mark.is_some()) {
            notes.push(if has_repeats {
                "★ best and ▼ worst of a row, where its runs overlap with no other.".to_owned()
            } else {
                "★ best and ▼ worst of a row.".to_owned()
            });
        }
        if self.has_gaps() {
            notes.push("– not measured, or it does not apply to this strategy.".to_owned());
        }
        notes
    }

    /// Whether it has so many columns that they must be narrow.
    pub(super) fn has_many_columns(&self) -> bool {
        self.columns.len() > 5
    }
}

impl Row {
    /// A row of cells that are there already.
    pub(super) fn of(label: impl Into<String>, unit: &'static str, cells: Vec<Cell>) -> Self {
        Self {
            label: label.into(),
            unit,
            detail: false,
            cells,
        }
    }

    /// A row of numbers: `value` of each run, `None` where it was not measured.
    pub(super) fn numbers(
        label: impl Into<String>,
        unit: &'static str,
        columns: &[Column<'_>],
        value: impl Fn(&Run) -> Option<f64>,
        show: impl Fn(f64) -> String,
    ) -> Self {
        let cells = columns.iter().map(|column| {
            let values: Vec<Option<f64>> = column.runs.iter().map(|run| value(run)).collect();
            Cell::numbers(&values, &show)
        });
        Self::of(label, unit, cells.collect())
    }

    /// As a breakdown of the row above.
    pub(super) fn detail(self) -> Self {
        Self {
            detail: true,
            ..self
        }
    }

    /// A row of counts.
    pub(super) fn counts(
        label: impl Into<String>,
        columns: &[Column<'_>],
        value: impl Fn(&Run) -> u64,
    ) -> Self {
        Self::numbers(label, "", columns, |run| Some(value(run) as f64), whole)
    }

    /// A row of parts of a whole, `51 of 150 (34 %)`, as `show` writes them.
    pub(super) fn parts(
        label: impl Into<String>,
        columns: &[Column<'_>],
        show: fn(u64, u64) -> String,
        value: impl Fn(&Run) -> Option<(u64, u64)>,
    ) -> Self {
        let cells = columns.iter().map(|column| {
            let values: Vec<_> = column.runs.iter().map(|run| value(run)).collect();
            Cell::parts(&values, show)
        });
        Self::of(label, "", cells.collect())
    }

    /// A row of words that are the same in all runs of a strategy.
    pub(super) fn words(
        label: impl Into<String>,
        columns: &[Column<'_>],
        value: impl Fn(&Run) -> String,
    ) -> Self {
        let cells = columns.iter().map(|column| {
            let mut words: Vec<String> = column.runs.iter().map(|run| value(run)).collect();
            words.dedup();
            Cell::words(words.join("; "))
        });
        Self::of(label, "", cells.collect())
    }
}

impl Cell {
    /// Words that hold for all runs.
    pub(super) fn words(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            runs: Vec::new(),
            mark: None,
        }
    }

    /// Nothing was measured.
    pub(super) fn gap() -> Self {
        Self::words(format::NOT_MEASURED)
    }

    /// The text with its mark.
    pub(super) fn marked(&self) -> String {
        self.mark.map_or_else(
            || self.text.clone(),
            |mark| format!("{} {}", mark.symbol(), self.text),
        )
    }

    /// Whether nothing was measured, in any run or in one of them.
    pub(super) fn is_gap(&self) -> bool {
        self.text == format::NOT_MEASURED || self.runs.iter().any(|run| run == format::NOT_MEASURED)
    }

    fn numbers(values: &[Option<f64>], show: impl Fn(f64) -> String) -> Self {
        let measured: Vec<f64> = values.iter().copied().flatten().collect();
        let Some(middle) = median(&measured) else {
            return Self::gap();
        };
        Self::of(show(middle), values.iter().map(|value| value.map(&show)))
    }

    /// The run in the middle by share stands for all: parts and wholes of different runs do not mix.
    fn parts(values: &[Option<(u64, u64)>], show: fn(u64, u64) -> String) -> Self {
        let mut measured: Vec<(u64, u64)> = values.iter().copied().flatten().collect();
        let share = |(part, whole): &(u64, u64)| *part as f64 / (*whole).max(1) as f64;
        measured.sort_by(|a, b| share(a).total_cmp(&share(b)));
        let Some((part, whole)) = measured.get(measured.len().saturating_sub(1) / 2) else {
            return Self::gap();
        };
        let short = |(part, whole): (u64, u64)| format::part_of_short(part, whole);
        Self::of(
            show(*part, *whole),
            values.iter().map(|value| value.map(short)),
        )
    }

    fn of(text: String, runs: impl ExactSizeIterator<Item = Option<String>>) -> Self {
        let runs: Vec<String> = runs
            .map(|run| run.unwrap_or_else(|| format::NOT_MEASURED.to_owned()))
            .collect();
        let differ = runs.windows(2).any(|pair| pair.first() != pair.last());
        Self {
            text,
            runs: if differ { runs } else { Vec::new() },
            mark: None,
        }
    }
}

/// A count that went through a median: exact when whole, with its half otherwise.
pub(super) fn whole(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some(digits) => digits.parse().map_or(text.clone(), format::count),
        None => format::figure(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_shows_its_value_and_more_show_the_median_and_each() {
        let cell = Cell::numbers(&[Some(812.0)], format::figure);
        assert_eq!((cell.text.as_str(), cell.runs.len()), ("812", 0));
        let cell = Cell::numbers(&[Some(3.0), Some(1.0), Some(2.0)], whole);
        assert_eq!(cell.text, "2");
        assert_eq!(cell.runs, ["3", "1", "2"]);
        let cell = Cell::numbers(&[Some(3.0), Some(3.0)], whole);
        assert_eq!(
            (cell.text.as_str(), cell.runs.len()),
            ("3", 0),
            "equal runs are not repeated"
        );
        let cell = Cell::numbers(&[Some(1.0), Some(2.0)], whole);
        assert_eq!(cell.text, "1.50");
    }

    #[test]
    fn what_was_not_measured_is_never_a_number() {
        assert_eq!(Cell::numbers(&[None], format::figure), Cell::gap());
        assert_eq!(Cell::numbers(&[None, None], format::figure), Cell::gap());
        let some = Cell::numbers(&[Some(4.0), None], whole);
        assert_eq!(
            (some.text.as_str(), some.runs.as_slice()),
            ("4", &["4".to_owned(), "–".to_owned()][..])
        );
        assert!(some.is_gap());
        assert_eq!(Cell::parts(&[None], format::part_of), Cell::gap());
    }

    #[test]
    fn parts_take_the_run_in_the_middle() {
        let cell = Cell::parts(
            &[Some((5, 10)), Some((1, 100)), Some((3, 10))],
            format::part_of,
        );
        assert_eq!(cell.text, "3 of 10 (30 %)");
        assert_eq!(cell.runs, ["5/10", "1/100", "3/10"]);
        assert_eq!(Cell::parts(&[Some((0, 0))], format::part_of).text, "0 of 0");
    }
}
