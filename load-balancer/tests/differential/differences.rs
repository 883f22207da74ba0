//! Where the balancer and HAProxy differ on purpose: why, and at which requests of `corpus.txt`. Decision 0018 tells
//! it in more words.

/// The version that the table was made with, as it begins.
pub(crate) const HAPROXY: &str = "2.6.";

/// Why, and where.
pub(crate) const DIFFERENCES: &[(&str, &[&str])] = &[
    (
        "ours: a node gets the target that it would get without a balancer; HAProxy: as it came",
        &[
            "absolute",
            "absolute-case",
            "absolute-default-port",
            "absolute-no-path",
            "absolute-options",
            "absolute-query",
        ],
    ),
    (
        "ours: passed in a form that the node's parser takes; HAProxy: as it came, and the node refuses it",
        &["path-angle", "path-backtick", "query-angle", "query-json"],
    ),
    (
        "ours: what no URI may hold goes on percent-encoded; HAProxy: as it came, and the node happens to take it",
        &["path-backslash", "path-json", "query-caret-pipe"],
    ),
    (
        "ours: refused, because no node has such a target; HAProxy: passed",
        &[
            "absolute-ftp",
            "absolute-no-host",
            "absolute-user",
            "connect",
            "target-star",
        ],
    ),
    (
        "ours: 404, because the path is not for clients; HAProxy: passed, unless it is told not to",
        &["private-dots", "private-encoded", "private-metrics"],
    ),
    (
        "ours: lines end in CRLF and words are one blank apart; HAProxy: mended, or passed",
        &[
            "chunk-blank-behind",
            "chunk-lf-at-the-end",
            "chunk-lf-behind-data",
            "chunk-lf-behind-size",
            "chunk-lf-last",
            "encoding-behind-lf",
            "encoding-folded",
            "folded",
            "lf-field",
            "lf-last",
            "lf-request-line",
            "target-blank-behind",
            "target-tab",
            "target-two-blanks",
        ],
    ),
    (
        "ours: no control bytes; HAProxy: passed, and the node refuses some of them",
        &[
            "chunk-extension-nul",
            "value-control",
            "value-del",
            "value-nul",
        ],
    ),
    (
        "ours: a length is said once; HAProxy: two that agree are one, and chunks beat a length",
        &[
            "chunked-and-length",
            "length-and-chunked",
            "length-list-same",
            "length-twice-same",
        ],
    ),
    (
        "ours: the framing is written anew; HAProxy: as it came",
        &["encoding-upper-case", "length-zeros"],
    ),
    (
        "ours: what belongs to one connection, or may pass for a field of ours, ends here; HAProxy: passed, unless it is told not to",
        &[
            "connection-named",
            "connection-names-host",
            "connection-names-length",
            "hop-by-hop",
            "proxy-field",
            "underscore",
            "upgrade-h2c",
        ],
    ),
    (
        "ours: one host that is a name or an address; HAProxy: passed",
        &[
            "host-empty",
            "host-list",
            "host-long",
            "host-missing",
            "host-path",
            "host-twice-http10",
            "host-twice-same",
            "host-user",
        ],
    ),
    (
        "ours: HTTP/1.0 and 1.1, and a node gets 1.1; HAProxy: any version, 1.0 as it came, and HTTP/2 without TLS",
        &[
            "http10-host",
            "http10-plain",
            "http12",
            "http2-preface",
            "http20",
        ],
    ),
    ("ours: 417; HAProxy: passed", &["expect-nope"]),
    (
        "ours: bounded; HAProxy: bounded by its buffers alone, which lets more through",
        &[
            "chunk-extension-long",
            "chunk-trailers-long",
            "fields-65",
            "length-too-large",
            "target-8192",
        ],
    ),
    (
        "both refuse it; ours with the status that says why",
        &[
            "encoding-gzip-chunked",
            "encoding-identity-chunked",
            "field-long",
            "target-17000",
        ],
    ),
];
