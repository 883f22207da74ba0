//! Refuses changes that a page of another site asked a browser for (cross-site request forgery).
//!
//! | the browser says | then |
//! | --- | --- |
//! | `Sec-Fetch-Site` | it must be `same-origin`, or `none`: the user did it, no page |
//! | only `Origin` | it must be that of `--public-url`, or that of the host that is asked; never `null` |
//! | neither | it is no browser of today, and no page: `curl`, an app. Allowed: nobody else's cookies are there |
//!
//! `SameSite=Lax` and JSON as the only type keep other sites out already. This holds where a browser is lax about the first,
//! and against pages on a sibling host or another port, which `SameSite` lets through. Requests that change nothing
//! (GET, HEAD) are not asked: no path takes both them and changes something.

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Request};

use crate::node::Node;
use crate::origin::Origin;
use crate::peer::Peer;
use crate::problem::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether `request` may change something here.
pub(crate) fn check<B>(node: &Node, request: &Request<B>) -> Result<(), Problem> {
    if request.method().is_safe() {
        return Ok(());
    }
    let headers = request.headers();
    if headers.contains_key(SEC_FETCH_SITE) {
        let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
        return allowed(sites.all(|site| site == "same-origin" || site == "none"));
    }
    if headers.contains_key(ORIGIN) {
        return allowed(is_ours(node, Peer::of(request.extensions())?, headers));
    }
    Ok(())
}

fn allowed(is_own: bool) -> Result<(), Problem> {
    if is_own {
        Ok(())
    } else {
        Err(Problem::CrossSite)
    }
}

/// Whether the one `Origin` of a request is ours.
fn is_ours(node: &Node, peer: Peer, headers: &HeaderMap) -> bool {
    let text = |name| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        value.to_str().ok()
    };
    let Some(origin) = text(ORIGIN).and_then(Origin::parse) else {
        return false;
    };
    // A page cannot choose the host that its browser asks and have our cookies sent there: cookies belong to a host.
    let asked = || {
        let scheme = peer.scheme(headers, &node.trusted_balancers);
        text(HOST).and_then(|host| Origin::of_host(scheme, host))
    };
    origin == node.public || Some(origin) == asked()
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;
    use serde_json::json;

    use super::*;
    use crate::testing::{PASSWORD, Shop, head, problem};

    const CHANGES: [(&str, &str); 8] = [
        ("POST", "/login"),
        ("POST", "/logout"),
        ("POST", "/refresh"),
        ("POST", "/cart/lines"),
        ("DELETE", "/cart/lines/a"),
        ("DELETE", "/sessions/a"),
        ("POST", "/admin/users/user-000001/revoke"),
        ("POST", "/admin/clock"),
    ];

    fn shop(public: &str) -> Shop {
        Shop::with(&["sticky"], |parts| {
            parts.public = Origin::parse(public).unwrap();
            parts.turnable_clock = true;
        })
    }

    async fn log_out(shop: &Shop, headers: &[(&str, &str)]) -> u16 {
        let mut request = head("POST", "/logout");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        shop.send(request).await.status
    }

    #[tokio::test]
    async fn every_call_that_changes_something_is_refused_to_other_sites() {
        let shop = shop("http://localhost:8081");
        for (method, path) in CHANGES {
            for (name, value) in [
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://evil.example"),
            ] {
                let request = head(method, path)
                    .header(name, value)
                    .header(CONTENT_TYPE, "application/json");
                let answer = shop.send(request).await;
                assert_eq!(
                    problem(&answer),
                    (403, "/problems/cross-site-request"),
                    "{path}"
                );
            }
        }
    }

    #[tokio::test]
    async fn what_the_browser_says_of_the_site_decides() {
        let shop = shop("https://lab.example");
        let evil = ("origin", "https://evil.example");
        for (site, status) in [
            ("same-origin", 204),
            ("none", 204),
            ("same-site", 403),
            ("cross-site", 403),
            ("", 403),
            ("SAME-ORIGIN", 403),
            ("same-origin, none", 403),
        ] {
            let site = ("sec-fetch-site", site);
            assert_eq!(log_out(&shop, &[site]).await, status, "{site:?}");
        }
        let both = [
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://lab.example"),
        ];
        assert_eq!(log_out(&shop, &both).await, 403);
        let twice = [("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")];
        assert_eq!(log_out(&shop, &twice).await, 403);
        assert_eq!(log_out(&shop, &[evil]).await, 403);
    }

    #[tokio::test]
    async fn else_the_origin_must_be_ours() {
        let shop = shop("https://lab.example");
        for (origin, host, proto, status) in [
            ("https://lab.example", "10.0.0.1:8080", "http", 204),
            ("https://lab.example:443", "lab.example", "https", 204),
            // Another listener of the same balancer.
            ("https://lab.example:8443", "lab.example:8443", "https", 204),
            ("http://127.0.0.1:8080", "127.0.0.1:8080", "http", 204),
            // A page that came over the plain network.
            ("http://lab.example", "lab.example", "https", 403),
            ("https://lab.example:8443", "lab.example", "https", 403),
            ("https://evil.example", "lab.example", "https", 403),
            (
                "https://lab.example.evil.example",
                "lab.example",
                "https",
                403,
            ),
            ("https://evil-lab.example", "lab.example", "https", 403),
            ("https://lab.example/", "lab.example", "https", 403),
            ("null", "lab.example", "https", 403),
            ("", "lab.example", "https", 403),
        ] {
            let headers = [
                ("origin", origin),
                ("host", host),
                ("x-forwarded-proto", proto),
            ];
            assert_eq!(log_out(&shop, &headers).await, status, "{headers:?}");
        }
        let ours = ("origin", "https://lab.example");
        assert_eq!(
            log_out(&shop, &[ours, ("origin", "https://evil.example")]).await,
            403
        );
        assert_eq!(
            log_out(&shop, &[("origin", "http://lab.example")]).await,
            403
        );
    }

    #[tokio::test]
    async fn who_is_no_browser_may() {
        let shop = shop("https://lab.example");
        assert_eq!(log_out(&shop, &[]).await, 204);
        let body = json!({"user": "user-000001", "password": PASSWORD});
        assert_eq!(
            shop.send_json(head("POST", "/login"), &body).await.status,
            200
        );
    }

    #[tokio::test]
    async fn what_changes_nothing_is_not_asked() {
        let shop = shop("https://lab.example");
        let request = head("GET", "/plain")
            .header("origin", "https://evil.example")
            .header("sec-fetch-site", "cross-site");
        assert_eq!(shop.send(request).await.status, 200);
        for (_, path) in CHANGES {
            for method in ["GET", "HEAD", "OPTIONS"] {
                let answer = shop.ask(method, path).await;
                assert_eq!(answer.status, 405, "{method} {path}");
            }
        }
    }
}
