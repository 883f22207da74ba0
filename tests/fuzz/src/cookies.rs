//! `Cookie` fields, one a line: how a node finds its session, and how the balancer takes its own cookie out.

use load_balancer::inspect;
use shop::inspect::{CookieFound, find_cookie};

const NAMES: [(&str, bool); 3] = [
    ("session-sticky", false),
    ("session-sticky", true),
    ("jwt-token", false),
];
const OURS: [&[u8]; 2] = [b"affinity", b"__Host-affinity"];

/// A simple parser finds the same; the affinity cookie leaves no trace, and takes no other with it.
pub fn check(input: &[u8]) {
    let fields: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    for (name, is_secure) in NAMES {
        let found = find_cookie(&fields, name, is_secure);
        let prefix = if is_secure { "__Host-" } else { "" };
        let wanted = format!("{prefix}{name}");
        let values = values(&fields, wanted.as_bytes());
        match &found {
            CookieFound::NotAField => return,
            CookieFound::None => assert!(
                values.is_empty() || (values.len() == 1 && !(1..=4096).contains(&values[0].len()))
            ),
            CookieFound::One(value) => {
                assert_eq!(values.len(), 1);
                assert_eq!(value, &String::from_utf8_lossy(values[0]));
            }
            CookieFound::Several => assert!(values.len() > 1),
        }
        let passed: Vec<Vec<u8>> = fields.iter().map(|field| passed(field)).collect();
        let passed: Vec<&[u8]> = passed.iter().map(|field| &**field).collect();
        assert_eq!(
            find_cookie(&passed, name, is_secure),
            found,
            "behind the balancer"
        );
        for ours in OURS {
            assert!(self::values(&passed, ours).is_empty(), "it is still there");
        }
    }
}

fn passed(field: &[u8]) -> Vec<u8> {
    let Some(rest) = inspect::without_affinity(field) else {
        return field.to_vec();
    };
    assert_eq!(inspect::without_affinity(&rest), None, "once is enough");
    assert!(rest.len() < field.len());
    rest
}

fn values<'a>(fields: &[&'a [u8]], name: &[u8]) -> Vec<&'a [u8]> {
    let pieces = fields
        .iter()
        .flat_map(|field| field.split(|byte| *byte == b';'));
    let pairs = pieces.filter_map(|piece| {
        let piece = piece.trim_ascii();
        let equals = piece.iter().position(|byte| *byte == b'=')?;
        Some((&piece[..equals], &piece[equals + 1..]))
    });
    pairs
        .filter(|(other, _)| *other == name)
        .map(|(_, value)| value)
        .collect()
}
