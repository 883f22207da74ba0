//! Stands for a credential in a history: the same credential gives the same fingerprint, and nothing leads back.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A hash under a key that is drawn for each run and never written. Written as 16 hexadecimal digits, because not every
/// reader of JSON keeps 64 bits of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

/// Takes the text where it lies: a history has millions of them.
struct Text;

impl de::Visitor<'_> for Text {
    type Value = Fingerprint;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("16 hexadecimal digits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Fingerprint, E> {
        u64::from_str_radix(text, 16)
            .map(Fingerprint)
            .map_err(de::Error::custom)
    }
}
