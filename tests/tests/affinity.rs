//! The balancer's promise to send a client to the same node, as clients of the whole cluster see it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use tests::{User, client, cluster, eventually, send};

#[tokio::test]
async fn a_client_stays_on_its_node() {
    let cluster = cluster(&["sticky"]).await;
    for number in 1..=6 {
        let mut user = User::new(&cluster, "sticky", number);
        let node = user.login().await.expect(200).node().to_owned();
        for _ in 0..10 {
            let me = user.me().await.expect(200);
            assert_eq!(me.node(), node);
            assert_eq!(me.cookie("affinity"), None, "set again without a change");
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
        .find(|line| line.starts_with("affinity="))
        .unwrap();
    assert!(
        line.contains("HttpOnly") && line.contains("SameSite"),
        "{line}"
    );
    let value = login.cookie("affinity").unwrap();
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
    let value = user.login().await.expect(200).cookie("affinity").unwrap();
    for forged in ["node-1", "", "AAAA", &format!("{value}A"), &value[1..]] {
        let request = client()
            .get(format!("{}/plain", cluster.url("sticky")))
            .header("cookie", format!("affinity={forged}"));
        let answer = send(request).await.expect(200);
        let new = answer
            .cookie("affinity")
            .expect("a good cookie in its place");
        assert_ne!(new, forged);
    }
    assert!(refused(&cluster).await >= before + 4);
}

/// How many affinity cookies the balancer has refused.
async fn refused(cluster: &loadtest::cluster::Cluster) -> u64 {
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
    let (home, cookie) = (login.node().to_owned(), login.cookie("affinity"));
    cluster.node(&home).unwrap().kill().await.unwrap();

    let moved = user.me().await.expect(401);
    assert_ne!(moved.node(), home);
    assert!(
        moved
            .cookie("affinity")
            .is_some_and(|new| Some(new) != cookie)
    );
    user.login().await.expect(200);
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
