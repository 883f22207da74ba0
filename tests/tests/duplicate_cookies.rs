//! Several session cookies of one name, as a browser sends them when they were set for different paths and domains: by a
//! sibling host, an older version, or an attacker. A login and a logout get by and clear them; everything else refuses them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use cluster::Cluster;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use session::about::Carriage;
use tests::direct::{problem, wish};
use tests::{Answer, STRATEGIES, cluster_with, send};

const HOST: &str = "shop.lab.example";

/// A cookie as RFC 6265bis keeps it: name, domain, whether it is for that host alone, and path tell cookies apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    name: String,
    domain: String,
    is_host_only: bool,
    path: String,
    value: String,
}

/// A browser that has been to [`HOST`].
#[derive(Clone, Default)]
struct Browser(Vec<Kept>);

impl Browser {
    /// What a page of this host, or of a sibling host, may have set.
    fn plant(&mut self, name: &str, domain: Option<&str>, path: &str, value: &str) {
        let domain = domain.map_or(String::new(), |domain| format!("; Domain={domain}"));
        self.store(&format!("{name}={value}; Path={path}{domain}"));
    }

    /// Follows one `Set-Cookie`.
    fn store(&mut self, line: &str) {
        let mut parts = line.split(';').map(str::trim);
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let mut kept = Kept {
            name: name.into(),
            domain: HOST.into(),
            is_host_only: true,
            path: String::new(),
            value: value.into(),
        };
        let mut is_cleared = false;
        for part in parts {
            match part.split_once('=') {
                Some(("Path", path)) => kept.path = path.into(),
                Some(("Domain", domain)) => {
                    let is_ours = HOST == domain || HOST.ends_with(&format!(".{domain}"));
                    assert!(is_ours && domain.contains('.'), "no browser takes {line}");
                    (kept.domain, kept.is_host_only) = (domain.into(), false);
                }
                Some(("Max-Age", seconds)) => is_cleared = seconds == "0",
                _ => {}
            }
        }
        assert!(
            kept.path.starts_with('/'),
            "every cookie says its path: {line}"
        );
        let key = |kept: &Kept| Kept {
            value: String::new(),
            ..kept.clone()
        };
        self.0.retain(|old| key(old) != key(&kept));
        if !is_cleared {
            self.0.push(kept);
        }
    }

    /// The cookies for a path, those of longer paths first.
    fn header(&self, path: &str) -> String {
        let matches = |kept: &&Kept| {
            path == kept.path
                || path
                    .strip_prefix(&*kept.path)
                    .is_some_and(|rest| kept.path.ends_with('/') || rest.starts_with('/'))
        };
        let mut sent: Vec<_> = self.0.iter().filter(matches).collect();
        sent.sort_by_key(|kept| std::cmp::Reverse(kept.path.len()));
        let pairs: Vec<_> = sent
            .iter()
            .map(|kept| format!("{}={}", kept.name, kept.value))
            .collect();
        pairs.join("; ")
    }

    fn named(&self, name: &str) -> Vec<&Kept> {
        self.0.iter().filter(|kept| kept.name == name).collect()
    }

    fn request(&self, base: &str, method: Method, path: &str) -> RequestBuilder {
        let request = Client::new().request(method, format!("{base}{path}"));
        request
            .header("host", HOST)
            .header("cookie", self.header(path))
    }

    /// Sends a request and keeps what the answer sets.
    async fn visit(
        &mut self,
        base: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let mut request = self.request(base, method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = send(request).await;
        for line in answer.set_cookies() {
            self.store(line);
        }
        answer
    }

    async fn log_in(&mut self, cluster: &Cluster, strategy: &str) -> Answer {
        let mut wish = wish(cluster, "user-000001");
        if session::about(strategy).unwrap().carriage == Carriage::Tokens {
            wish["transport"] = json!("cookie");
        }
        self.visit(&cluster.url(strategy), Method::POST, "/login", Some(&wish))
            .await
    }
}

/// The names of the cookies that a strategy sets.
fn names(strategy: &str) -> impl Iterator<Item = &'static str> {
    session::about(strategy).unwrap().cookies()
}

/// Plants cookies of a strategy's names wherever a browser lets them be set for this path.
fn plant_everywhere(browser: &mut Browser, strategy: &str, path: &str) {
    for name in names(strategy) {
        for domain in [None, Some(HOST), Some("lab.example")] {
            for path in ["/", path] {
                // What the browser holds of our own stays, beside the others.
                if domain.is_some() || path != "/" {
                    browser.plant(name, domain, path, "planted");
                }
            }
        }
    }
}

async fn one_node() -> Cluster {
    cluster_with(&STRATEGIES, |spec| spec.nodes = 1).await
}

fn session_lines(answer: &Answer) -> Vec<&str> {
    answer
        .set_cookies()
        .filter(|line| !line.starts_with("affinity"))
        .collect()
}

#[tokio::test]
async fn a_login_replaces_and_clears_cookies_of_one_name_wherever_they_came_from() {
    let cluster = one_node().await;
    for strategy in STRATEGIES {
        let base = cluster.url(strategy);
        let mut browser = Browser::default();
        browser.log_in(&cluster, strategy).await.expect(200);
        let old = browser.header("/me");
        plant_everywhere(&mut browser, strategy, "/login");
        let refused = send(browser.request(&base, Method::GET, "/me")).await;
        assert_eq!(
            problem(&refused),
            (400, "/problems/ambiguous-credential"),
            "{strategy}"
        );

        let login = browser.log_in(&cluster, strategy).await.expect(200);
        for name in names(strategy) {
            let kept = browser.named(name);
            assert!(
                kept.len() <= 1,
                "{strategy}: {kept:?} after {:?}",
                login.headers
            );
            assert!(
                kept.iter()
                    .all(|kept| kept.is_host_only && kept.path == "/")
            );
        }
        browser
            .visit(&base, Method::GET, "/me", None)
            .await
            .expect(200);
        let line = json!({"id": "a", "sku": "book-1", "quantity": 1});
        browser
            .visit(&base, Method::POST, "/cart/lines", Some(&line))
            .await
            .expect(201);
        let cart = browser
            .visit(&base, Method::GET, "/cart", None)
            .await
            .expect(200);
        assert_eq!(cart.lines(), ["a"], "{strategy}");
        // The session that came along among the others has ended, where the strategy can end one.
        let after = Client::new()
            .get(format!("{base}/me"))
            .header("cookie", old);
        send(after)
            .await
            .expect(if strategy == "jwt" { 200 } else { 401 });
        // With one of a name there is nothing to clear.
        let again = browser.log_in(&cluster, strategy).await.expect(200);
        assert!(
            session_lines(&again).len() <= names(strategy).count(),
            "{:?}",
            again.headers
        );
    }
}

#[tokio::test]
async fn a_logout_ends_and_clears_all_of_them() {
    let cluster = one_node().await;
    for strategy in STRATEGIES {
        let base = cluster.url(strategy);
        let mut browser = Browser::default();
        browser.log_in(&cluster, strategy).await.expect(200);
        let old = browser.header("/me");
        plant_everywhere(&mut browser, strategy, "/logout");
        let logout = browser
            .visit(&base, Method::POST, "/logout", None)
            .await
            .expect(204);
        for name in names(strategy) {
            assert_eq!(
                browser.named(name),
                Vec::<&Kept>::new(),
                "{:?}",
                logout.headers
            );
        }
        let after = Client::new()
            .get(format!("{base}/me"))
            .header("cookie", old);
        send(after)
            .await
            .expect(if strategy == "jwt" { 200 } else { 401 });
    }
}

#[tokio::test]
async fn one_that_a_login_cannot_see_is_cleared_where_it_is_refused() {
    let cluster = one_node().await;
    for strategy in STRATEGIES {
        let base = cluster.url(strategy);
        let mut browser = Browser::default();
        for name in names(strategy) {
            browser.plant(name, None, "/cart", "planted");
            browser.plant(name, Some("lab.example"), "/cart/lines", "planted");
            browser.plant(name, Some("lab.example"), "/cart/", "planted");
        }
        browser.log_in(&cluster, strategy).await.expect(200);
        browser
            .visit(&base, Method::GET, "/me", None)
            .await
            .expect(200);
        let line = json!({"id": "a", "sku": "book-1", "quantity": 1});
        let refused = browser
            .visit(&base, Method::POST, "/cart/lines", Some(&line))
            .await;
        assert_eq!(
            problem(&refused),
            (400, "/problems/ambiguous-credential"),
            "{strategy}"
        );
        browser
            .visit(&base, Method::POST, "/cart/lines", Some(&line))
            .await
            .expect(201);
        browser
            .visit(&base, Method::GET, "/cart", None)
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn a_bearer_is_not_locked_out_by_cookies_either() {
    let cluster = one_node().await;
    let base = cluster.url("jwt");
    let mut browser = Browser::default();
    plant_everywhere(&mut browser, "jwt", "/login");
    let wish = wish(&cluster, "user-000001");
    let login = browser
        .visit(&base, Method::POST, "/login", Some(&wish))
        .await
        .expect(200);
    let token = login.body["access_token"].as_str().unwrap();
    let me = browser
        .request(&base, Method::GET, "/me")
        .bearer_auth(token);
    send(me).await.expect(200);

    // A cookie of one user and the header of another are refused, but a login and a logout replace both.
    let second = json!({"user": "user-000002", "password": cluster.password()});
    let login = browser
        .visit(&base, Method::POST, "/login", Some(&second))
        .await
        .expect(200);
    let token = login.body["access_token"].as_str().unwrap();
    let mut other = Browser::default();
    other.log_in(&cluster, "jwt").await.expect(200);
    let both = |method, path| other.request(&base, method, path).bearer_auth(token);
    let refused = send(both(Method::GET, "/me")).await;
    assert_eq!(problem(&refused), (400, "/problems/two-users"));
    send(both(Method::POST, "/login").json(&second))
        .await
        .expect(200);
    send(both(Method::POST, "/logout")).await.expect(204);
}

#[tokio::test]
async fn however_many_there_are_the_answer_stays_small() {
    let cluster = one_node().await;
    for strategy in STRATEGIES {
        let name = names(strategy).next().unwrap();
        for (what, cookies) in [
            (
                "many",
                (0..400)
                    .map(|number| format!("{name}=x{number}"))
                    .collect::<Vec<_>>()
                    .join("; "),
            ),
            ("an empty one", format!("{name}=; {name}=")),
            ("no value", format!("{name}; {name}=a; ={name}; {name}=b")),
            (
                "too long",
                format!("{name}={}; {name}=a", "x".repeat(5_000)),
            ),
            ("no text", format!("{name}=\u{e9}; {name}=\"a,b\"")),
        ] {
            for path in ["/login", "/logout"] {
                let mut wish = wish(&cluster, "user-000001");
                if strategy == "jwt" {
                    wish["transport"] = json!("cookie");
                }
                let request = Client::new()
                    .post(format!("{}{path}", cluster.url(strategy)))
                    .header("host", HOST)
                    .header("cookie", cookies.as_bytes());
                let request = if path == "/login" {
                    request.json(&wish)
                } else {
                    request
                };
                let answer = send(request).await;
                assert!(
                    matches!(answer.status, 200 | 204),
                    "{strategy} {what}: {answer:?}"
                );
                let lines = session_lines(&answer);
                assert!(
                    lines.len() <= 20,
                    "{strategy} {what}: {} lines",
                    lines.len()
                );
            }
        }
    }
}
