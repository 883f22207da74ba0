//! Affinity as a client sees it: which node answers, and which cookies go where.

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use support::{
    Balancer, SECRET, affinity_of, client, eventually, get, header, log_in, node_of, own_ip,
    upstream::{Mode, OK, Upstream},
};

async fn three_nodes(ip: std::net::Ipv4Addr) -> [Upstream; 3] {
    [
        Upstream::start(ip, 1).await,
        Upstream::start(ip, 2).await,
        Upstream::start(ip, 3).await,
    ]
}

#[tokio::test]
async fn a_client_with_the_cookie_stays_on_its_node() {
    let ip = own_ip();
    let nodes = three_nodes(ip).await;
    let balancer = Balancer::start(ip, &[&nodes[0], &nodes[1], &nodes[2]], "").await;

    let first = log_in(&balancer.url("/"), None).await;
    let (node, cookie) = (
        node_of(&first).expect("a node"),
        affinity_of(&first).expect("a cookie"),
    );
    let set = header(&first, "set-cookie").expect("a cookie");
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
    assert!(
        !set.contains("node") && !set.contains(&ip.to_string()),
        "{set}"
    );

    for _ in 0..10 {
        let answer = get(&balancer.url("/"), Some(&cookie)).await;
        assert_eq!(node_of(&answer).as_deref(), Some(node.as_str()));
        assert_eq!(affinity_of(&answer), None, "nothing changed");
    }
    let mut seen: Vec<_> = Vec::new();
    for _ in 0..3 {
        seen.push(node_of(&get(&balancer.url("/"), None).await).expect("a node"));
    }
    seen.sort();
    assert_eq!(
        seen,
        ["node-1", "node-2", "node-3"],
        "without a cookie nodes take turns"
    );
    assert_eq!(
        affinity_of(&log_in(&balancer.redis_url("/"), None).await),
        None,
        "redis needs none"
    );
}

#[tokio::test]
async fn the_node_sees_every_cookie_but_ours() {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    let balancer = Balancer::start(ip, &[&node], "").await;
    let cookie = affinity_of(&log_in(&balancer.url("/"), None).await).expect("a cookie");

    get(
        &balancer.url("/"),
        Some(&format!("a=1;  b = \"2\"; {cookie}; session-sticky=xyz")),
    )
    .await;
    get(&balancer.url("/"), Some(&cookie)).await;
    get(
        &balancer.redis_url("/"),
        Some(&format!("{cookie}; session-redis=xyz")),
    )
    .await;

    let requests = node.requests();
    assert!(
        requests[1].contains("a=1;  b = \"2\"; session-sticky=xyz\r\n"),
        "{}",
        requests[1]
    );
    assert!(
        !requests[2].to_lowercase().contains("cookie"),
        "{}",
        requests[2]
    );
    assert!(
        requests[3].contains(": session-redis=xyz\r\n"),
        "{}",
        requests[3]
    );
    assert!(requests.iter().all(|request| !request.contains("affinity")));
}

/// A genuine cookie, made here from its description alone: this is the format that balancers agree on.
fn sealed(node: &str, issued_s: u64) -> String {
    let sign = |key: &[u8], data: &[u8]| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data)
            .as_ref()
            .to_vec()
    };
    let tag_key = sign(SECRET.as_bytes(), b"affinity/1 tag");
    let mac_key = sign(SECRET.as_bytes(), b"affinity/1 mac");
    let issued = u32::try_from(issued_s).unwrap_or(u32::MAX).to_be_bytes();
    let mut cookie = sign(&tag_key, node.as_bytes())[..8].to_vec();
    cookie.extend(issued);
    let mac = sign(&mac_key, &cookie);
    cookie.extend(&mac[..16]);
    format!("affinity-sticky={}", URL_SAFE_NO_PAD.encode(cookie))
}

#[tokio::test]
async fn a_cookie_made_from_the_description_pins() {
    let ip = own_ip();
    let nodes = three_nodes(ip).await;
    let balancer = Balancer::start(ip, &[&nodes[0], &nodes[1], &nodes[2]], "").await;
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    for _ in 0..3 {
        let answer = get(&balancer.url("/"), Some(&sealed("node-2", now_s - 3600))).await;
        assert_eq!(node_of(&answer).as_deref(), Some("node-2"));
        assert_eq!(affinity_of(&answer), None);
    }
    let ageing = get(
        &balancer.url("/"),
        Some(&sealed("node-2", now_s - 7 * 3600)),
    )
    .await;
    assert_eq!(node_of(&ageing).as_deref(), Some("node-2"));
    assert!(
        affinity_of(&ageing).is_some(),
        "renewed in its second half, for the same node"
    );
}

#[tokio::test]
async fn cookies_that_prove_nothing_are_ignored_and_counted() {
    let ip = own_ip();
    let nodes = three_nodes(ip).await;
    let balancer = Balancer::start(ip, &[&nodes[0], &nodes[1], &nodes[2]], "").await;
    let good = affinity_of(&log_in(&balancer.url("/"), None).await).expect("a cookie");
    // Another first letter of the tag: the mac does not fit any more.
    let position = "affinity-sticky=".len();
    let other = if good.as_bytes()[position] == b'A' {
        "B"
    } else {
        "A"
    };
    let forged = format!("{}{other}{}", &good[..position], &good[position + 1..]);

    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    for (cookie, reason) in [
        (forged, "forged"),
        (sealed("node-1", now_s - 12 * 3600), "expired"),
        (sealed("node-1", now_s + 3600), "expired"),
        (sealed("node-9", now_s), "unknown"),
        ("affinity-sticky=short".to_owned(), "malformed"),
    ] {
        let sample = format!(
            "load_balancer_refused_cookies_total{{listener=\"sticky\",reason=\"{reason}\"}}"
        );
        let before = balancer.metric(&sample).await;
        let answer = get(&balancer.url("/"), Some(&cookie)).await;
        assert_eq!(affinity_of(&answer), None, "{reason}: no session started");
        assert_eq!(balancer.metric(&sample).await, before + 1, "{reason}");
    }
    assert!(
        nodes
            .iter()
            .flat_map(Upstream::requests)
            .all(|request| !request.contains("affinity"))
    );
}

#[tokio::test]
async fn balancers_that_share_the_key_agree() {
    let (ip, other_ip) = (own_ip(), own_ip());
    let nodes = three_nodes(ip).await;
    let all = [&nodes[0], &nodes[1], &nodes[2]];
    let one = Balancer::start(ip, &all, "").await;
    let two = Balancer::start(other_ip, &all, "").await;
    for _ in 0..3 {
        let first = log_in(&one.url("/"), None).await;
        let cookie = affinity_of(&first).expect("a cookie");
        let second = get(&two.url("/"), Some(&cookie)).await;
        assert_eq!(node_of(&first), node_of(&second));
        assert_eq!(affinity_of(&second), None);
    }
}

#[tokio::test]
async fn a_cookie_for_a_node_that_is_no_more_is_replaced() {
    let (ip, other_ip) = (own_ip(), own_ip());
    let nodes = three_nodes(ip).await;
    let before = Balancer::start(ip, &[&nodes[0]], "").await;
    let after = Balancer::start(other_ip, &[&nodes[1]], "").await;
    let cookie = affinity_of(&log_in(&before.url("/"), None).await).expect("a cookie");

    let answer = log_in(&after.url("/"), Some(&cookie)).await;
    assert_eq!(node_of(&answer).as_deref(), Some("node-2"));
    assert!(affinity_of(&answer).is_some());
    for sample in [
        "load_balancer_moved_total{listener=\"sticky\",reason=\"removed\"}",
        "load_balancer_refused_cookies_total{listener=\"sticky\",reason=\"unknown\"}",
        "load_balancer_repins_total{listener=\"sticky\",reason=\"removed\"}",
    ] {
        assert_eq!(after.metric(sample).await, 1, "{sample}");
    }
}

/// Being served elsewhere moves no pin, whatever made it necessary: the session may still be there. The login does.
#[tokio::test]
async fn a_pinned_client_moves_when_its_node_fails() {
    let ip = own_ip();
    let nodes = three_nodes(ip).await;
    // No check in between, so that requests meet the failures.
    let settings = "[health]\ninterval_ms = 60000\nfall = 100\n[timeouts]\nread_ms = 200";
    let balancer = Balancer::start(ip, &[&nodes[0], &nodes[1], &nodes[2]], settings).await;

    for (reason, number) in [("retried", 0), ("retried", 1), ("connect-failed", 2)] {
        let pinned = balancer.pin_to(&balancer.url("/"), &nodes[number]).await;
        let sample =
            format!("load_balancer_moved_total{{listener=\"sticky\",reason=\"{reason}\"}}");
        let before = balancer.metric(&sample).await;
        match number {
            0 => nodes[number].set(Mode::Close),
            1 => nodes[number].set(Mode::Hang),
            _ => nodes[number].kill().await,
        }
        let moved = get(&balancer.url("/"), Some(&pinned)).await;
        assert_eq!(
            header(&moved, "x-balancer-retries").as_deref(),
            Some("1"),
            "{reason}"
        );
        assert_ne!(node_of(&moved), Some(nodes[number].name.clone()));
        assert_eq!(affinity_of(&moved), None, "{reason}");
        assert_eq!(balancer.metric(&sample).await, before + 1);

        if number < 2 {
            nodes[number].set(OK);
            let back = get(&balancer.url("/"), Some(&pinned)).await;
            assert_eq!(node_of(&back), Some(nodes[number].name.clone()), "{reason}");
            continue;
        }
        let started = log_in(&balancer.url("/"), Some(&pinned)).await;
        let (node, cookie) = (
            node_of(&started),
            affinity_of(&started).expect("a new cookie"),
        );
        nodes[number].restart().await;
        let stayed = get(&balancer.url("/"), Some(&cookie)).await;
        assert_eq!(
            node_of(&stayed),
            node,
            "pinned to the node that started the session"
        );
        let repins = "load_balancer_repins_total{listener=\"sticky\",reason=\"connect-failed\"}";
        assert_eq!(balancer.metric(repins).await, 1);
    }
}

#[tokio::test]
async fn a_client_pinned_to_a_node_that_is_down_gets_another() {
    let ip = own_ip();
    let nodes = three_nodes(ip).await;
    let balancer = Balancer::start(
        ip,
        &[&nodes[0], &nodes[1]],
        "[health]\ninterval_ms = 50\ntimeout_ms = 200",
    )
    .await;
    let first = log_in(&balancer.url("/"), None).await;
    let cookie = affinity_of(&first).expect("a cookie");
    let (pinned, other) = if node_of(&first).as_deref() == Some("node-1") {
        (&nodes[0], "node-2")
    } else {
        (&nodes[1], "node-1")
    };

    pinned.kill().await;
    eventually("the node is down", || async {
        balancer.state(&pinned.name).await == "down"
    })
    .await;
    let answer = client()
        .post(balancer.url("/login"))
        .header("cookie", &cookie)
        .send()
        .await
        .expect("an answer");
    assert_eq!(node_of(&answer).as_deref(), Some(other));
    assert!(affinity_of(&answer).is_some());
    assert_eq!(
        header(&answer, "x-balancer-retries"),
        None,
        "known to be down, so not even tried"
    );
    assert_eq!(
        balancer
            .metric("load_balancer_repins_total{listener=\"sticky\",reason=\"down\"}")
            .await,
        1
    );
}
