//! The balancer's promise to send a client to the same node, as clients of the whole cluster see it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use cluster::{Cluster, Order, spec::PinRule};
use reqwest::{Client, Method};
use serde_json::json;
use tests::{Answer, User, client, cluster, cluster_with, eventually, send};

const COOKIE: &str = "affinity-sticky";

#[tokio::test]
async fn a_client_stays_on_its_node() {
    let cluster = cluster(&["sticky"]).await;
    for number in 1..=6 {
        let mut user = User::new(&cluster, "sticky", number);
        let node = user.login().await.expect(200).node().to_owned();
        for _ in 0..10 {
            let me = user.me().await.expect(200);
            assert_eq!(me.node(), node);
            assert_eq!(me.cookie(COOKIE), None, "set again without a change");
        }
    }
}

#[tokio::test]
async fn the_cookie_is_opaque_and_kept_from_scripts() {
    let cluster = cluster(&["sticky"]).await;
    let mut user = User::new(&cluster, "sticky", 1);
    let login = user.login().await.expect(200);
    let line = login
        .set_cookies()
        .find(|line| line.starts_with("affinity-sticky="))
        .unwrap();
    assert!(
        line.contains("HttpOnly") && line.contains("SameSite"),
        "{line}"
    );
    let value = login.cookie(COOKIE).unwrap();
    assert!(!value.contains("node") && !value.contains("127"), "{value}");
}

#[tokio::test]
async fn without_affinity_a_login_is_unknown_elsewhere() {
    // The textbooks' first claim: with N nodes, (N−1)/N of the requests are refused.
    let cluster = tests::cluster_with(&["sticky"], |spec| {
        spec.affinity = Some(false);
    })
    .await;
    let user = User::logged_in(&cluster, "sticky", 1).await;
    let mut refused = 0;
    for _ in 0..30 {
        refused += usize::from(user.me().await.status == 401);
    }
    assert_eq!(
        refused, 20,
        "round robin over three nodes, one of which knows the login"
    );
}

#[tokio::test]
async fn a_forged_affinity_cookie_is_ignored_and_counted() {
    let cluster = cluster(&["sticky"]).await;
    let before = refused(&cluster).await;
    let mut user = User::new(&cluster, "sticky", 1);
    let value = user.login().await.expect(200).cookie(COOKIE).unwrap();
    for forged in ["node-1", "", "AAAA", &format!("{value}A"), &value[1..]] {
        let request = client()
            .get(format!("{}/plain", cluster.url("sticky")))
            .header("cookie", format!("{COOKIE}={forged}"));
        let answer = send(request).await.expect(200);
        assert_eq!(answer.set_cookies().count(), 0, "{forged}");
    }
    assert!(refused(&cluster).await >= before + 4);
}

/// How many affinity cookies the balancer has refused.
async fn refused(cluster: &Cluster) -> u64 {
    let text = client()
        .get(format!("{}/metrics", cluster.admin_url()))
        .bearer_auth(cluster.admin_token())
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("load_balancer_refused_cookies_total"));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[tokio::test]
async fn a_client_of_a_dead_node_moves_once_and_stays_there() {
    let cluster = cluster(&["sticky"]).await;
    let mut user = User::new(&cluster, "sticky", 1);
    let login = user.login().await.expect(200);
    let (home, cookie) = (login.node().to_owned(), login.cookie(COOKIE));
    cluster.node(&home).unwrap().kill().await.unwrap();

    let moved = user.me().await.expect(401);
    assert_ne!(moved.node(), home);
    assert_eq!(
        moved.cookie(COOKIE),
        None,
        "its session might still be there"
    );
    let again = user.login().await.expect(200).cookie(COOKIE);
    assert!(again.is_some_and(|new| Some(new) != cookie));
    let new_home = user.me().await.expect(200).node().to_owned();

    cluster.node(&home).unwrap().start().await.unwrap();
    eventually("the node to be back in rotation", async || {
        let answer = send(client().get(format!("{}/plain", cluster.url("sticky")))).await;
        (answer.node() == home).then_some(())
    })
    .await;
    for _ in 0..10 {
        assert_eq!(
            user.me().await.expect(200).node(),
            new_home,
            "no reshuffling"
        );
    }
}

/// A browser whose cookies the test sets one by one: what it holds after each answer.
#[derive(Clone, Default)]
struct Jar(Vec<(String, String)>);

impl Jar {
    fn take(&mut self, answer: &Answer) {
        for line in answer.set_cookies() {
            let (name, rest) = line.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            self.0.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.0.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    fn header(&self) -> String {
        let pairs = self.0.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    async fn ask(&self, cluster: &Cluster, method: Method, path: &str) -> Answer {
        let mut request =
            Client::new().request(method.clone(), format!("{}{path}", cluster.url("sticky")));
        if !self.0.is_empty() {
            request = request.header("cookie", self.header());
        }
        if path == "/login" {
            let user = json!({"user": "user-000001", "password": cluster.password()});
            request = request.json(&user);
        }
        send(request).await
    }
}

async fn pinning(rule: PinRule) -> Cluster {
    cluster_with(&["sticky"], |spec| spec.pin = Some(rule)).await
}

/// haproxy #2196: a browser logs in and loads a page at the same time, before it has any cookie; the page's answer comes
/// last. What a balancer loses that pins everybody, and ours does not.
#[tokio::test]
async fn a_page_that_loads_beside_the_login_costs_no_session() {
    for (rule, is_lost) in [(PinRule::Session, false), (PinRule::Everybody, true)] {
        let cluster = pinning(rule).await;
        // Three nodes take turns: the page comes from another one than the login.
        let mut jar = Jar::default();
        let login = jar.ask(&cluster, Method::POST, "/login").await.expect(200);
        let page = jar.ask(&cluster, Method::GET, "/plain").await.expect(200);
        assert_ne!(page.node(), login.node());
        jar.take(&login);
        jar.take(&page);
        let mut lost = 0;
        for _ in 0..6 {
            lost += usize::from(jar.ask(&cluster, Method::GET, "/me").await.status == 401);
        }
        assert_eq!(lost > 0, is_lost, "{rule:?}: {lost} of 6 were logged out");
    }
}

/// ingress-nginx #13484: who keeps a drained node busy.
#[tokio::test]
async fn a_drained_node_is_left_by_all_who_have_no_session_there() {
    for rule in [PinRule::Session, PinRule::Everybody] {
        let cluster = pinning(rule).await;
        let mut guest = Jar::default();
        let page = guest.ask(&cluster, Method::GET, "/plain").await.expect(200);
        let node = page.node().to_owned();
        guest.take(&page);
        let mut member = Jar::default();
        while member.0.is_empty() {
            let login = Jar::default()
                .ask(&cluster, Method::POST, "/login")
                .await
                .expect(200);
            if login.node() == node {
                member.take(&login);
            }
        }
        let mut leaver = member.clone();
        let mut holder = Jar::default();
        holder
            .0
            .extend(member.0.iter().filter(|(name, _)| name == COOKIE).cloned());
        cluster
            .order(&node, Order::Drain { deadline_s: None })
            .await
            .unwrap();

        let stays = guest.ask(&cluster, Method::GET, "/plain").await.expect(200);
        assert_eq!(stays.node() == node, rule == PinRule::Everybody, "{rule:?}");
        let me = member.ask(&cluster, Method::GET, "/me").await.expect(200);
        assert_eq!(me.node(), node, "a session may stay");
        if rule == PinRule::Everybody {
            continue;
        }
        // A pin without a session, which starts one.
        let login = holder
            .ask(&cluster, Method::POST, "/login")
            .await
            .expect(200);
        assert_ne!(login.node(), node);
        holder.take(&login);
        let me = holder.ask(&cluster, Method::GET, "/me").await.expect(200);
        assert_eq!(me.node(), login.node());
        // A session that ends.
        let logout = leaver.ask(&cluster, Method::POST, "/logout").await;
        assert!(logout.status < 300, "{logout:?}");
        leaver.take(&logout);
        assert_eq!(leaver.header(), "", "no pin is left");
        // And one that is over without its browser's doing: its pin goes with the first refusal.
        let dead = member.ask(&cluster, Method::GET, "/me").await.expect(401);
        member.take(&dead);
        assert!(!member.header().contains(COOKIE), "{}", member.header());
        for _ in 0..6 {
            let page = member
                .ask(&cluster, Method::GET, "/plain")
                .await
                .expect(200);
            assert_ne!(page.node(), node);
        }
    }
}

/// arxiv-auth #62: a cookie that is left from elsewhere stands before the right one.
#[tokio::test]
async fn a_cookie_that_proves_nothing_hides_no_other_one() {
    let cluster = cluster(&["sticky"]).await;
    let mut jar = Jar::default();
    jar.take(&jar.ask(&cluster, Method::POST, "/login").await.expect(200));
    jar.0.insert(0, (COOKIE.to_owned(), "old".to_owned()));
    jar.0.insert(0, ("affinity".to_owned(), "old".to_owned()));
    for _ in 0..9 {
        jar.ask(&cluster, Method::GET, "/me").await.expect(200);
    }
}
