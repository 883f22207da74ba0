//! The report for a terminal: caveats, the figures that decide, all others in one table with a column for each strategy, sentences, expectations, verdict; and last
//! what to remember. No colours, so that it can be pasted anywhere.

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table as Grid, TableStyle,
};

use super::document::Document;
use super::table::{Row, Table};
use evidence::results::Results;

/// Narrower than this a table cannot be read; wider adds nothing but distance between the columns.
const WIDTHS: std::ops::RangeInclusive<u16> = 60..=100;

/// From this width on there is room for the longest label in one line.
const LABELS_WHOLE: u16 = 90;

/// A rule under the header and at both ends; groups speak for themselves.
const STYLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// The width to print at: the terminal's, within reason, or 100 columns when there is none.
pub fn width() -> u16 {
    let columns = Grid::new().width().unwrap_or(*WIDTHS.end());
    columns.clamp(*WIDTHS.start(), *WIDTHS.end())
}

/// What to remember, as the last lines: three or four sentences, `width` columns wide, ending in a line break.
pub fn headline(results: &Results, width: u16) -> String {
    let width = width.clamp(*WIDTHS.start(), *WIDTHS.end());
    let document = Document::of(results);
    let sentences = document.headline.iter();
    sentences
        .map(|sentence| wrapped(sentence, "• ", width))
        .collect()
}

/// All else that `lab` prints of the results, `width` columns wide, ending in a line break.
pub fn table(results: &Results, width: u16) -> String {
    let width = width.clamp(*WIDTHS.start(), *WIDTHS.end());
    let document = Document::of(results);
    let mut out = wrapped(&document.question, "", width);
    out.push('\n');
    for caveat in &document.caveats {
        out += &wrapped(caveat, "! ", width);
    }
    if !document.key_figures.columns.is_empty() {
        out.push('\n');
        out += &grid(&document.key_figures, width);
        out += &footnotes(&document.key_figures, width);
    }
    for (title, table) in document.scale_out.iter().flat_map(|part| &part.tables) {
        out.push('\n');
        out += &wrapped(&format!("{title}. {}", table.caption), "", width);
        out += &grid(table, width);
        out += &footnotes(table, width);
    }
    if !document.figures.columns.is_empty() {
        out.push('\n');
        out += &grid(&document.figures, width);
        out += &footnotes(&document.figures, width);
    }
    if let Some(pairs) = &document.pairs {
        out.push('\n');
        out += &wrapped(pairs.caption, "", width);
        out += &grid(pairs, width);
    }
    out.push('\n');
    for sentence in &document.summary {
        out += &wrapped(sentence, "• ", width);
    }
    out.push('\n');
    for judged in &document.expectations {
        let mark = if judged.verdict == "held" {
            "✓ "
        } else {
            "✗ "
        };
        let line = format!(
            "{}: {} — observed: {}",
            judged.strategy, judged.expectation, judged.observed
        );
        out += &wrapped(&line, mark, width);
    }
    out.push('\n');
    out += &wrapped(
        &format!(
            "Verdict: {}. {}",
            document.verdict, document.verdict_sentence
        ),
        "",
        width,
    );
    for reason in &document.reasons {
        out += &wrapped(reason, "• ", width);
    }
    out
}

fn grid(table: &Table, width: u16) -> String {
    let mut grid = Grid::new();
    grid.load_style(STYLE)
        .force_no_tty()
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    let mut header = vec![String::new()];
    header.extend(table.columns.iter().cloned());
    grid.set_header(header);
    for (index, group) in table.groups.iter().enumerate() {
        if index > 0 {
            grid.add_row([" "]);
        }
        if !group.title.is_empty() {
            grid.add_row([group.title.as_str()]);
        }
        for row in &group.rows {
            grid.add_row(cells(row));
        }
    }
    for (index, column) in grid.column_iter_mut().enumerate() {
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        } else if width >= LABELS_WHOLE {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    grid.trim_fmt() + "\n"
}

fn cells(row: &Row) -> Vec<String> {
    let unit = if row.unit.is_empty() {
        String::new()
    } else {
        format!(", {}", row.unit)
    };
    let indent = if row.detail { "    " } else { "  " };
    let mut cells = vec![format!("{indent}{}{unit}", row.label)];
    cells.extend(row.cells.iter().map(|cell| {
        if cell.runs.is_empty() {
            cell.marked()
        } else {
            format!("{}\n[{}]", cell.marked(), cell.runs.join(" "))
        }
    }));
    cells
}

fn footnotes(table: &Table, width: u16) -> String {
    let notes = table.notes("in brackets");
    notes.iter().map(|note| wrapped(note, "", width)).collect()
}

/// Breaks a sentence into lines; `bullet` opens the first and indents the others.
fn wrapped(text: &str, bullet: &str, width: u16) -> String {
    let indent = bullet.chars().count();
    let room = usize::from(width).saturating_sub(indent);
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        let lead = if index == 0 {
            bullet.to_owned()
        } else {
            " ".repeat(indent)
        };
        out += &lead;
        out += line;
        out.push('\n');
    }
    out
}
