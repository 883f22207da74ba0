//! Shows a place in a scenario file to a person.

use std::ops::Range;
use std::path::Path;

/// A file's name and text.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// `message` with the place that it is about:
    ///
    /// ```text
    /// scenarios/demo.toml:12:10: the target `node-7` does not exist
    ///    |
    /// 12 | target = "node-7"
    ///    |          ^^^^^^^^
    /// ```
    pub(super) fn explain(&self, span: Option<Range<usize>>, message: &str) -> String {
        let path = self.path.display();
        let Some(span) = span else {
            return format!("{path}: {message}");
        };
        let start = span.start.min(self.text.len());
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let number = self.text[..line_start].matches('\n').count() + 1;
        let column = self.text[line_start..start].chars().count() + 1;
        // A span may run over several lines; the mark stays on the first.
        let end = span
            .end
            .clamp(start, line_start + line.len().max(start - line_start));
        let width = self.text[start..end].chars().count().max(1);
        let gutter = " ".repeat(number.to_string().len());
        let mark = format!("{}{}", " ".repeat(column - 1), "^".repeat(width));
        format!(
            "{path}:{number}:{column}: {message}\n{gutter} |\n{number} | {line}\n{gutter} | {mark}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_at_the_place() {
        let source = Source {
            path: Path::new("a.toml"),
            text: "x = 1\nänder = \"n\"\n",
        };
        let start = source.text.find('"').unwrap();
        assert_eq!(
            source.explain(Some(start..start + 3), "no"),
            "a.toml:2:9: no\n  |\n2 | änder = \"n\"\n  |         ^^^"
        );
    }

    #[test]
    fn survives_places_outside_and_over_several_lines() {
        let source = Source {
            path: Path::new("a.toml"),
            text: "[a]\nb = 1",
        };
        assert!(source.explain(Some(0..9), "no").ends_with("| ^^^"));
        assert!(
            source
                .explain(Some(99..100), "no")
                .starts_with("a.toml:2:6: no")
        );
        assert_eq!(source.explain(None, "no"), "a.toml: no");
    }
}
