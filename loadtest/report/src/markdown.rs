//! `report.md`: the report for a pull request or a wiki. The same contents as `report.html`, without the charts.

use super::document::{Document, GLOSSARY};
use super::table::Table;

/// The whole file.
pub(super) fn render(document: &Document) -> String {
    let mut page = Page::default();
    page.heading(1, &document.question);
    page.paragraph(&format!(
        "**Verdict: {}.** {}",
        document.verdict, document.verdict_sentence
    ));
    page.bullets(&document.reasons);
    page.paragraph(&format!(
        "Scenario {}, started {}.",
        text(&document.scenario),
        text(&document.started_at)
    ));
    page.heading(2, "Read this first");
    page.bullets(&document.caveats);
    if !document.key_figures.columns.is_empty() {
        page.titled("Key figures", &document.key_figures);
    }
    page.heading(2, "What was run");
    page.pairs(&document.settings);
    page.pairs(&document.machine);
    page.heading(2, "What the figures say");
    page.bullets(&document.headline);
    page.bullets(&document.summary);
    page.heading(2, "What was expected");
    page.expectations(document);
    page.titled("What theory says", &document.matrix);
    for (place, reason) in &document.why {
        page.line(&format!("- {}: {}", text(place), text(reason)));
    }
    page.out.push('\n');
    if let Some(part) = &document.scale_out {
        page.heading(2, "Scale-out");
        for (title, table) in &part.tables {
            page.heading(3, title);
            page.table(table);
        }
    }
    page.titled("Figures", &document.figures);
    if let Some(pairs) = &document.pairs {
        page.titled("Strategies against each other", pairs);
    }
    page.titled("What each strategy declares", &document.properties);
    page.titled("What the checker proved", &document.anomalies);
    for (run, story) in &document.proofs {
        page.heading(3, run);
        page.code("text", story);
    }
    page.titled("The generator", &document.generator);
    page.heading(2, "What the words mean");
    for (term, meaning) in GLOSSARY {
        page.line(&format!("- **{term}**: {meaning}"));
    }
    page.out.push('\n');
    page.heading(2, "Measure it again");
    page.code("sh", &document.command);
    page.paragraph(&text(&document.origin));
    page.out
}

/// A Markdown text that grows.
#[derive(Default)]
struct Page {
    out: String,
}

impl Page {
    fn line(&mut self, markdown: &str) {
        self.out.push_str(markdown);
        self.out.push('\n');
    }

    fn heading(&mut self, level: usize, title: &str) {
        self.line(&format!("{} {}\n", "#".repeat(level), text(title)));
    }

    /// Takes Markdown.
    fn paragraph(&mut self, markdown: &str) {
        self.line(&format!("{markdown}\n"));
    }

    fn bullets(&mut self, items: &[String]) {
        for item in items {
            self.line(&format!("- {}", text(item)));
        }
        if !items.is_empty() {
            self.out.push('\n');
        }
    }

    fn code(&mut self, language: &str, code: &str) {
        // A fence longer than any in the text cannot be closed by it.
        let longest = code.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(longest.max(2) + 1);
        self.line(&format!(
            "{fence}{language}\n{}\n{fence}\n",
            code.trim_end()
        ));
    }

    fn pairs(&mut self, pairs: &[(String, String)]) {
        self.out += "| | |\n| --- | --- |\n";
        for (name, value) in pairs {
            self.line(&format!("| {} | {} |", text(name), text(value)));
        }
        self.out.push('\n');
    }

    fn titled(&mut self, title: &str, table: &Table) {
        self.heading(2, title);
        self.table(table);
    }

    fn expectations(&mut self, document: &Document) {
        self.out += "| | strategy | by | expected | observed |\n| --- | --- | --- | --- | --- |\n";
        for judged in &document.expectations {
            self.line(&format!(
                "| {} | {} | {} | {} | {} |",
                judged.verdict,
                text(&judged.strategy),
                judged.source,
                text(&judged.expectation),
                text(&judged.observed)
            ));
        }
        self.out.push('\n');
    }

    fn table(&mut self, table: &Table) {
        self.paragraph(&text(table.caption));
        let names: Vec<String> = table.columns.iter().map(|name| text(name)).collect();
        self.line(&format!("| | {} |", names.join(" | ")));
        let alignment = if table.words { " --- |" } else { " ---: |" };
        self.line(&format!("| --- |{}", alignment.repeat(names.len())));
        for group in &table.groups {
            if !group.title.is_empty() {
                self.line(&format!(
                    "| **{}** |{}",
                    text(&group.title),
                    " |".repeat(names.len())
                ));
            }
            for row in &group.rows {
                let unit = if row.unit.is_empty() {
                    String::new()
                } else {
                    format!(", {}", row.unit)
                };
                let cells: Vec<String> = row
                    .cells
                    .iter()
                    .map(|cell| match cell.runs.as_slice() {
                        [] => text(&cell.marked()),
                        runs => text(&format!("{} ({})", cell.marked(), runs.join("; "))),
                    })
                    .collect();
                let detail = if row.detail { "… " } else { "" };
                self.line(&format!(
                    "| {detail}{}{unit} | {} |",
                    text(&row.label),
                    cells.join(" | ")
                ));
            }
        }
        self.out.push('\n');
        for note in table.notes("in parentheses") {
            self.paragraph(&text(&note));
        }
    }
}

/// Text as Markdown that shows it unchanged: no markup, no HTML, one line.
fn text(plain: &str) -> String {
    let mut out = String::with_capacity(plain.len());
    for character in plain.chars() {
        match character {
            '\n' | '\r' => out.push(' '),
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => {
                out.push('\\');
                out.push(character);
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(text("<b>|`*x*`\n&"), "&lt;b>\\|\\`\\*x\\*\\` &amp;");
    }

    #[test]
    fn a_code_block_cannot_be_closed_by_its_contents() {
        let mut page = Page::default();
        page.code("sh", "echo ```");
        assert_eq!(page.out, "````sh\necho ```\n````\n\n");
    }
}
