//! The name of a cart line: whose it is, and which operation added it. Unique in a run, and it says itself when it
//! turns up in the wrong cart.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Written `12-7`: the line that user 12 added with its operation 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineId {
    /// Who added it.
    pub user: u32,
    /// With which of its operations.
    pub operation: u32,
}

impl LineId {
    /// Stands for every id that no user of this lab can have made.
    pub const FOREIGN: Self = Self {
        user: 0,
        operation: 0,
    };

    /// Reads an id as it comes back from a node.
    pub fn parse(text: &str) -> Self {
        text.split_once('-')
            .and_then(|(user, operation)| {
                Some(Self {
                    user: user.parse().ok()?,
                    operation: operation.parse().ok()?,
                })
            })
            .unwrap_or(Self::FOREIGN)
    }
}

impl fmt::Display for LineId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.user, self.operation)
    }
}

impl Serialize for LineId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LineId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

/// Takes the text where it lies: a history has millions of them.
struct Text;

impl de::Visitor<'_> for Text {
    type Value = LineId;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the id of a cart line")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<LineId, E> {
        Ok(LineId::parse(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_way_to_a_node_and_back() {
        let id = LineId {
            user: 12,
            operation: 7,
        };
        assert_eq!(id.to_string(), "12-7");
        assert_eq!(LineId::parse("12-7"), id);
    }

    #[test]
    fn ids_that_no_user_made_are_foreign() {
        for text in ["", "12", "12-", "a-7", "12-7-1", "99999999999-1"] {
            assert_eq!(LineId::parse(text), LineId::FOREIGN, "{text}");
        }
    }
}
