//! `shop describe`: the table of strategies as JSON, for programs that must not link the strategies (the lab among them).
//!
//! Its form is `describe.schema.json`; fields may be added, never renamed.

use std::io::{self, Write};

use serde::Serialize;
use session::{About, Kind};

/// The version of the form.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Description {
    schema: u32,
    strategies: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    about: &'static About,
    /// Names without any prefix.
    cookies: Vec<&'static str>,
}

/// Prints what `kinds` say of themselves.
pub(crate) fn print(kinds: &[&dyn Kind], to: &mut impl Write) -> io::Result<()> {
    let rows = kinds.iter().map(|kind| Row {
        about: kind.about(),
        cookies: kind.about().cookies().collect(),
    });
    let description = Description {
        schema: SCHEMA,
        strategies: rows.collect(),
    };
    serde_json::to_writer_pretty(&mut *to, &description)?;
    writeln!(to)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_is_printed_has_the_form_of_the_schema() {
        let mut printed = Vec::new();
        print(session::KINDS, &mut printed).unwrap();
        let printed: Value = serde_json::from_slice(&printed).unwrap();
        let schema: Value = serde_json::from_str(include_str!("../describe.schema.json")).unwrap();
        let schema = jsonschema::validator_for(&schema).unwrap();
        let faults: Vec<_> = schema
            .iter_errors(&printed)
            .map(|fault| fault.to_string())
            .collect();
        assert_eq!(faults, [""; 0]);
        assert!(!schema.is_valid(&Value::Null));
        for (strategy, field) in [(0, "needs_affinity"), (1, "key_prefixes"), (2, "theory")] {
            let mut without = printed.clone();
            let row = without["strategies"][strategy].as_object_mut().unwrap();
            assert!(row.remove(field).is_some());
            assert!(!schema.is_valid(&without), "{field}");
        }
    }
}
