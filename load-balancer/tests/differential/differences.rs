//! Where the balancer and HAProxy differ on purpose: why, and at which requests of `corpus.txt`.

/// The version that the table was made with, as it begins.
pub(crate) const HAPROXY: &str = "2.6.";

/// Why, and where. Decision 0018 has the same in more words.
pub(crate) const DIFFERENCES: &[(&str, &[&str])] = &[];
