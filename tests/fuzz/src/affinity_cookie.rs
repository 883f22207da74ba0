//! The affinity cookie: `Cookie` fields, one a line.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::LISTENER;

/// The nodes that cookies of the seeds pin to.
const NODES: [&str; 3] = ["node-1", "node-2", "node-9"];
/// The moment at which all are judged.
const NOW_S: u32 = 1_800_000_000;

/// A pin is accepted in the one spelling that we wrote, and for the node that it was written for.
pub fn check(input: &[u8]) {
    let fields: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let pinned = NODES.map(|node| LISTENER.is_pinned(&fields, node, NOW_S));
    if !matches!(pinned[0], Ok(Some(_))) {
        assert!(
            pinned.iter().all(|other| *other == pinned[0]),
            "which node is asked about changes nothing"
        );
        return;
    }
    let mut nodes = NODES
        .iter()
        .zip(&pinned)
        .filter(|(_, pinned)| **pinned == Ok(Some(true)));
    let (node, _) = nodes.next().expect("nobody but us can seal a pin");
    assert!(nodes.next().is_none(), "a pin is to one node");
    let pieces = fields
        .iter()
        .flat_map(|field| field.split(|byte| *byte == b';'));
    let is_ours = pieces.filter_map(issued_at).any(|(value, issued_s)| {
        let age_s = i64::from(NOW_S) - i64::from(issued_s);
        let ours = LISTENER.pin(node, issued_s);
        ours.split(['=', ';']).nth(1) == Some(value) && (-60..12 * 60 * 60).contains(&age_s)
    });
    assert!(
        is_ours,
        "accepted in a spelling of somebody else, or too old"
    );
}

/// The value of a cookie, and when it says that it was issued.
fn issued_at(piece: &[u8]) -> Option<(&str, u32)> {
    let (_, value) = std::str::from_utf8(piece).ok()?.split_once('=')?;
    let value = value.trim_ascii();
    let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
    Some((
        value,
        u32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?),
    ))
}
