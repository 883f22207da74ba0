//! `junit.xml`: the expectations as test cases, for CI systems. A measurement that cannot be believed is an error, and its
//! expectations are skipped. A series that ended early is an error, too.

use std::fmt::Write as _;

use super::document::stopped_early;
use evidence::results::{Results, Verdict};

/// The whole file.
pub(super) fn render(results: &Results) -> String {
    let invalid = results.verdict == Verdict::Invalid;
    let failed = results.expectations.iter().filter(|one| !one.held).count();
    let cases = results.expectations.len();
    let (failures, mut errors, skipped) = if invalid {
        (0, 1, cases)
    } else {
        (failed, 0, 0)
    };
    let early = stopped_early(results);
    errors += usize::from(early.is_some());
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" timestamp=\"{}\" tests=\"{}\" \
         failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\">\n",
        text(&results.scenario),
        text(&results.started_at),
        cases + errors,
    );
    if invalid {
        let reasons = results.reasons.join("; ");
        out += "  <testcase classname=\"measurement\" name=\"can be believed\">\n";
        let _ = writeln!(out, "    <error message=\"{}\"/>", text(&reasons));
        out += "  </testcase>\n";
    }
    if let Some(why) = early {
        out += "  <testcase classname=\"measurement\" name=\"is complete\">\n";
        let _ = writeln!(out, "    <error message=\"{}\"/>", text(&why));
        out += "  </testcase>\n";
    }
    for expectation in &results.expectations {
        let _ = writeln!(
            out,
            "  <testcase classname=\"{}\" name=\"{}\">",
            text(&expectation.strategy),
            text(&expectation.expectation)
        );
        let observed = text(&expectation.observed);
        if invalid {
            out += "    <skipped message=\"the measurement is invalid\"/>\n";
        } else if !expectation.held {
            let _ = writeln!(out, "    <failure message=\"observed: {observed}\"/>");
        }
        let _ = writeln!(out, "    <system-out>observed: {observed}</system-out>");
        out += "  </testcase>\n";
    }
    out += "</testsuite>\n";
    out
}

/// Text for an attribute or an element. What XML cannot hold at all becomes a question mark.
fn text(plain: &str) -> String {
    let mut out = String::with_capacity(plain.len());
    for character in plain.chars() {
        match character {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&apos;",
            '\n' | '\t' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(character));
            }
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('?'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::sample;

    #[test]
    fn each_expectation_is_a_case_and_a_missed_one_a_failure() {
        let mut results = sample::results();
        results.runs[1].anomalies.session_lost = 51;
        let results = results.judged();
        let missed = results.expectations.iter().filter(|one| !one.held).count();
        assert!(missed > 0);
        let xml = render(&results);
        assert_eq!(
            xml.matches("<testcase ").count(),
            results.expectations.len()
        );
        assert_eq!(xml.matches("<failure ").count(), missed);
        assert!(xml.contains(&format!("failures=\"{missed}\" errors=\"0\" skipped=\"0\"")));
        assert!(xml.contains("<testcase classname=\"redis\" name=\"sessions_lost == 0\">\n    <failure message=\"observed: 51\"/>"), "{xml}");
    }

    #[test]
    fn an_invalid_measurement_is_an_error_and_fails_nothing() {
        let mut results = sample::results();
        results.verdict = Verdict::Invalid;
        results.reasons = vec!["the generator was too slow".into()];
        let xml = render(&results);
        assert!(xml.contains("<error message=\"the generator was too slow\"/>"));
        assert!(!xml.contains("<failure "));
        assert_eq!(xml.matches("<skipped ").count(), results.expectations.len());
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(
            text("a < b & \"c\" > 'd'\n\u{0}"),
            "a &lt; b &amp; &quot;c&quot; &gt; &apos;d&apos;&#10;?"
        );
        let xml = render(&sample::empty_and_hostile());
        assert!(!xml.contains("<script"));
        assert!(xml.contains("&lt;script&gt;"));
    }
}
