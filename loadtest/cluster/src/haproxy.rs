//! HAProxy in the load balancer's place: its configuration, with the same timeouts, checks, retries and affinity as ours
//! by default. `docs/balancer.md` has the table of the two vocabularies.
//!
//! What HAProxy has no word for stays different: it has no retry budget, no limit on all attempts together, takes a
//! node that leaves maintenance for up until a check says otherwise, pins everybody and not only sessions, and offers a node's
//! 503 to another one where the request may be repeated, whatever `x-outcome` says.

use std::{
    fmt::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    ClusterError,
    files::{self, Listener, Node, PRIVATE_PATHS},
};

/// What the configuration says.
pub(super) struct Config<'a> {
    /// Answers `/healthz` while the process lives.
    pub(super) admin: SocketAddr,
    /// Takes orders.
    pub(super) socket: &'a Path,
    pub(super) nodes: &'a [Node],
    pub(super) listeners: &'a [Listener],
}

impl Config<'_> {
    /// Writes it; the path.
    pub(super) fn write(&self, dir: &Path) -> Result<PathBuf, ClusterError> {
        files::write(dir.join("haproxy.cfg"), &self.text())
    }

    fn text(&self) -> String {
        let mut text = format!(
            "global\n  maxconn 10000\n  no strict-limits\n  stats socket \"{socket}\" mode 600 level admin\n\
             defaults\n  mode http\n  timeout connect 500ms\n  timeout server 2s\n  timeout check 500ms\n  \
             timeout client 10s\n  timeout http-request 10s\n  timeout http-keep-alive 75s\n  \
             balance roundrobin\n  option forwardfor\n  retries 2\n  option redispatch 1\n  \
             retry-on conn-failure empty-response response-timeout\n  \
             default-server check inter 500ms rise 1 fall 2 observe layer4 error-limit 2 on-error mark-down\n\
             frontend admin\n  bind {admin}\n  monitor-uri /healthz\n",
            socket = self.socket.display(),
            admin = self.admin,
        );
        let private = PRIVATE_PATHS
            .map(|path| path.trim_start_matches('/'))
            .join("|");
        for listener in self.listeners {
            let Listener {
                strategy, address, ..
            } = listener;
            // `%rc` is the number of attempts after the first. The node's own header, if it had one, is replaced.
            let _ = write!(
                text,
                "frontend {strategy}\n  bind {address}\n  \
                 http-request deny deny_status 404 if {{ path,url_dec -i -m reg ^/+({private})/*$ }}\n  \
                 http-request del-header x-forwarded-for\n  http-request set-header x-forwarded-proto http\n  \
                 http-request set-header x-session-strategy {strategy}\n  \
                 http-after-response set-header x-balancer-retries %rc\n  default_backend {strategy}\n\
                 backend {strategy}\n  option httpchk\n  \
                 http-check send meth GET uri /readyz ver HTTP/1.1 hdr host node hdr x-session-strategy {strategy} hdr connection close\n  \
                 acl once method POST PATCH\n  acl keyed req.fhdr(idempotency-key) -m len 1:257\n  \
                 acl keyed_twice req.fhdr_cnt(idempotency-key) gt 1\n  \
                 http-request disable-l7-retry if once !keyed or once keyed_twice\n  \
                 http-request set-timeout server 5s if once !keyed or once keyed_twice\n  \
                 http-request set-header x-answer-within-ms 5000 if once !keyed or once keyed_twice\n"
            );
            let sticky = listener.affinity;
            if sticky {
                let _ = writeln!(
                    text,
                    "  cookie affinity-{strategy} insert indirect nocache httponly maxlife 12h"
                );
            } else {
                // Of a client that belongs to a node, another one knows nothing.
                text.push_str("  retry-on conn-failure empty-response response-timeout 503\n");
            }
            for Node { name, address } in self.nodes {
                let cookie = if sticky {
                    format!(" cookie {name}")
                } else {
                    String::new()
                };
                let _ = writeln!(text, "  server {name} {address}{cookie}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinity_is_for_those_that_need_it_and_a_post_without_a_key_is_never_sent_twice() {
        let address = SocketAddr::from(([127, 0, 0, 1], 9001));
        let listener = |strategy: &str, affinity| Listener {
            strategy: strategy.into(),
            address,
            affinity,
            pin: None,
        };
        let text = Config {
            admin: address,
            socket: Path::new("/tmp/a socket"),
            nodes: &[Node {
                name: "node-1".into(),
                address,
            }],
            listeners: &[
                listener("sticky", true),
                listener("redis", false),
                listener("jwt", true),
            ],
        }
        .text();
        assert_eq!(
            text.matches(" insert indirect nocache").count(),
            2,
            "{text}"
        );
        assert_eq!(text.matches("server node-1 127.0.0.1:9001\n").count(), 1);
        assert!(text.contains("  cookie affinity-jwt insert"));
        assert_eq!(text.matches("disable-l7-retry if once !keyed").count(), 3);
        assert_eq!(text.matches("response-timeout 503").count(), 1);
        assert_eq!(
            text.matches("reg ^/+(metrics|healthz|readyz|admin/clock)/*$")
                .count(),
            3
        );
        assert!(text.contains("stats socket \"/tmp/a socket\" mode 600"));
    }
}
