//! Holds `results.schema.json` and the types of [`evidence::results`] together: what is written validates, what is described exists,
//! and the schema is as strict about types and nulls as the program that reads the file.

use std::fs;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};

use evidence::results::{Comparison, Results, Revocations};
use evidence::sample;

#[test]
fn what_is_written_validates() {
    let validator = validator();
    for results in [
        sample::results(),
        sample::repeated(),
        sample::scaled(),
        sample::empty_and_hostile(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        super::write_all(&results, dir.path()).unwrap();
        let written: Value =
            serde_json::from_str(&fs::read_to_string(dir.path().join("results.json")).unwrap())
                .unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&written)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

#[test]
fn every_field_is_described_and_every_description_has_a_field() {
    let schema = schema();
    let mut undescribed = Vec::new();
    compare(&complete(), &schema, &schema, "", &mut undescribed);
    assert!(
        undescribed.is_empty(),
        "results.schema.json and results.rs differ:\n{}",
        undescribed.join("\n")
    );
}

#[test]
fn a_missing_field_is_refused() {
    let (validator, complete) = (validator(), complete());
    for (pointer, key) in fields(&complete) {
        let mut document = complete.clone();
        document
            .pointer_mut(&pointer)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(&key);
        assert!(
            !validator.is_valid(&document),
            "{pointer}/{key} may not be missing"
        );
    }
}

#[test]
fn nulls_and_types_are_as_strict_as_the_program() {
    let (validator, complete) = (validator(), complete());
    for (pointer, key) in fields(&complete) {
        for wrong in [
            Value::Null,
            json!("text"),
            json!(-1),
            json!(1.5),
            json!(true),
            json!([]),
        ] {
            let mut document = complete.clone();
            document.pointer_mut(&pointer).unwrap()[&key] = wrong.clone();
            // The program reads any text as the name of the schema, and judges it afterwards.
            let understood =
                serde_json::from_value::<Results>(document.clone()).is_ok() && key != "schema";
            assert_eq!(
                validator.is_valid(&document),
                understood,
                "{pointer}/{key} = {wrong}"
            );
        }
    }
}

#[test]
fn added_fields_are_allowed() {
    let mut document = complete();
    document["added"] = json!(1);
    document["runs"][0]["added"] = json!({"later": true});
    assert!(validator().is_valid(&document));
}

#[test]
fn another_schema_is_refused() {
    let mut document = complete();
    document["schema"] = json!("sessionlab.results/2");
    assert!(!validator().is_valid(&document));
}

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../evidence/results.schema.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn validator() -> Validator {
    jsonschema::validator_for(&schema()).unwrap()
}

/// A document in which no figure is null and no list is empty.
fn complete() -> Value {
    let mut results = sample::results();
    results.reasons.push("a reason".to_owned());
    results.runs.truncate(1);
    let run = &mut results.runs[0];
    let (redis, jwt) = (sample::redis(1), sample::jwt(1));
    run.cost_us_per_request.store = redis.cost_us_per_request.store;
    run.store_operations_per_request = redis.store_operations_per_request;
    run.memory_bytes_per_session.store = redis.memory_bytes_per_session.store;
    run.properties.store = redis.properties.store;
    run.revocation_ms = jwt.revocation_ms;
    run.revocations = Some(Revocations {
        asked: 60,
        acknowledged: 60,
        unsupported: 0,
        sessions: 52,
        exposures: 31,
        resurrections: 0,
        alive_ms: jwt.revocation_ms,
    });
    run.failure_latency_us = run.latency_us;
    run.generator.reason = Some("a reason".to_owned());
    run.timeline.truncate(1);
    run.latency_histogram.truncate(1);
    // Enough runs to compare, and then one of them.
    let mut repeated = sample::repeated();
    repeated.runs.extend(repeated.runs.clone());
    let mut repeated = repeated.judged();
    let measured = |comparison: &Comparison| comparison.ratio.is_some() && comparison.low.is_some();
    repeated.comparisons.retain(measured);
    repeated.comparisons.truncate(1);
    repeated.summary.truncate(1);
    results.comparisons = repeated.comparisons;
    results.summary = repeated.summary;
    results.scale_out = sample::scaled().scale_out;
    results.scale_out.truncate(1);
    let scale = &mut results.scale_out[0];
    scale.no_fit = Some("a reason".to_owned());
    scale.points.truncate(1);
    scale.points[0].reason = Some("a reason".to_owned());
    scale.stations.truncate(1);
    if let Some(fit) = &mut scale.fit {
        // Of made-up points without coherency there is no peak.
        fit.peak_nodes = Some(96.5);
        fit.kappa.high = Some(0.01);
        fit.curve.truncate(1);
    }
    results.stopped_because = Some("a reason".to_owned());
    results.expectations.truncate(1);
    results.matrix.truncate(1);
    let document = serde_json::to_value(&results).unwrap();
    assert!(
        !document.to_string().contains("null"),
        "give the new field a value in the samples: {document:#}"
    );
    document
}

/// Every field of every object that has fixed fields, as a pointer to its object and its key.
fn fields(document: &Value) -> Vec<(String, String)> {
    fn walk(value: &Value, pointer: &str, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    found.push((pointer.to_owned(), key.clone()));
                    // Maps have the keys that they happen to have.
                    if ![
                        "settings",
                        "versions",
                        "per_node",
                        "failed_by_cause",
                        "figures",
                        "observed",
                    ]
                    .contains(&key.as_str())
                    {
                        walk(value, &format!("{pointer}/{key}"), found);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    walk(item, &format!("{pointer}/{index}"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(document, "", &mut found);
    found
}

/// Names the differences between the fields of `value` and what the schema describes there.
fn compare(
    value: &Value,
    described: &Value,
    root: &Value,
    at: &str,
    differences: &mut Vec<String>,
) {
    let described = resolved(described, root);
    match value {
        Value::Object(object) => {
            let Some(properties) = described["properties"].as_object() else {
                return; // a map with free keys
            };
            let required: Vec<&str> = described["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            for (key, value) in object {
                let path = format!("{at}/{key}");
                match properties.get(key) {
                    None => differences.push(format!("{path} is not described")),
                    Some(property) => {
                        if property["description"].as_str().is_none_or(str::is_empty) {
                            differences.push(format!("{path} has no description"));
                        }
                        if !required.contains(&key.as_str()) {
                            differences.push(format!("{path} is not required"));
                        }
                        compare(value, property, root, &path, differences);
                    }
                }
            }
            for key in properties.keys().filter(|key| !object.contains_key(*key)) {
                differences.push(format!("{at}/{key} is described, and does not exist"));
            }
        }
        Value::Array(items) => {
            for item in items {
                compare(
                    item,
                    &described["items"],
                    root,
                    &format!("{at}/…"),
                    differences,
                );
            }
        }
        _ => {}
    }
}

/// Follows a reference, alone or beside `null`.
fn resolved<'a>(described: &'a Value, root: &'a Value) -> &'a Value {
    let alternatives = described["oneOf"].as_array();
    let described = alternatives
        .and_then(|all| all.iter().find(|one| one["$ref"].is_string()))
        .unwrap_or(described);
    match described["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => described,
    }
}
