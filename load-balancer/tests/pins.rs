//! Who gets a pin, who keeps it, and who loses it.

#![allow(clippy::expect_used, reason = "a panic is how tests report")]

mod support;

use reqwest::{Response, StatusCode};
use support::{
    Balancer, affinity_of, client, eventually, get, header, log_in, node_of, own_ip,
    upstream::{Mode, OK, Upstream},
};

async fn two_nodes(settings: &str) -> (Upstream, Upstream, Balancer) {
    let ip = own_ip();
    let (one, two) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    let balancer = Balancer::start(ip, &[&one, &two], settings).await;
    (one, two, balancer)
}

async fn post(url: &str, cookie: &str) -> Response {
    let request = client().post(url).header("cookie", cookie);
    request.send().await.expect("an answer")
}

/// The affinity cookie is told to go.
fn is_cleared(answer: &Response) -> bool {
    header(answer, "set-cookie").is_some_and(|set| {
        set.starts_with("affinity-sticky=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax")
    })
}

#[tokio::test]
async fn the_answer_that_starts_a_session_pins_and_no_other() {
    let (_one, _two, balancer) = two_nodes("").await;
    for path in ["/", "/plain", "/me", "/gone", "/logout"] {
        let answer = client()
            .get(balancer.url(path))
            .send()
            .await
            .expect("an answer");
        assert_eq!(header(&answer, "set-cookie"), None, "{path}");
    }
    let started = log_in(&balancer.url("/"), None).await;
    assert!(affinity_of(&started).is_some());
    assert_eq!(
        header(&started, "x-session-event"),
        None,
        "between us and the node"
    );
}

/// haproxy #2196: the answer to a request that was sent without cookies must not move the session that starts meanwhile.
#[tokio::test]
async fn a_parallel_answer_of_the_same_browser_moves_nobody() {
    let (_one, _two, balancer) = two_nodes("").await;
    for _ in 0..4 {
        let url = balancer.url("/");
        let (started, other) = tokio::join!(log_in(&url, None), get(&url, None));
        // The browser takes them in any order; the second one must not matter.
        let cookie = affinity_of(&started).expect("a cookie");
        assert_eq!(header(&other, "set-cookie"), None);
        let next = get(&url, Some(&cookie)).await;
        assert_eq!(node_of(&next), node_of(&started));
    }
}

#[tokio::test]
async fn a_listener_may_pin_everybody() {
    let ip = own_ip();
    let (one, two) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    let listener = format!(
        "[[listeners]]\nstrategy = \"all\"\naddress = \"{ip}:8083\"\naffinity = true\npin = \"everybody\""
    );
    let balancer = Balancer::start(ip, &[&one, &two], &listener).await;
    let url = format!("http://{ip}:8083/");
    let first = get(&url, None).await;
    let pinned = affinity_of(&first).expect("pinned without a session");
    assert!(pinned.starts_with("affinity-all="), "{pinned}");
    for path in ["", "logout", "login"] {
        let answer = get(&format!("{url}{path}"), Some(&pinned)).await;
        assert_eq!(node_of(&answer), node_of(&first), "{path}");
        assert_eq!(header(&answer, "set-cookie"), None, "{path}");
        assert_eq!(header(&answer, "x-session-event"), None, "{path}");
    }
    // The price: the pin that a parallel answer sets is another one in half of all cases.
    let nodes = [
        node_of(&get(&url, None).await),
        node_of(&log_in(&url, None).await),
    ];
    assert_ne!(nodes[0], nodes[1]);
    let home = node_of(&first).expect("a node");
    balancer.order(&home, r#"{"state":"drain"}"#).await;
    let stays = get(&url, Some(&pinned)).await;
    assert_eq!(
        node_of(&stays),
        Some(home.clone()),
        "a visitor keeps it busy"
    );
    balancer.order(&home, r#"{"state":"maint"}"#).await;
    let moved = get(&url, Some(&pinned)).await;
    assert_ne!(node_of(&moved), Some(home));
    assert!(affinity_of(&moved).is_some(), "and is pinned there at once");
    let sample = "load_balancer_repins_total{listener=\"all\",reason=\"maint\"}";
    assert_eq!(balancer.metric(sample).await, 1);
}

#[tokio::test]
async fn a_logout_releases_and_a_refusal_does_not() {
    let (one, _two, balancer) = two_nodes("").await;
    let pinned = balancer.pin_to(&balancer.url("/"), &one).await;
    // This one may come later than the answer to another login of the same browser: it must not take that one's pin.
    let refused = post(&balancer.url("/gone"), &pinned).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(header(&refused, "set-cookie"), None);
    let left = post(&balancer.url("/logout"), &pinned).await;
    assert!(is_cleared(&left), "{left:?}");
    assert_eq!(node_of(&left).as_deref(), Some("node-1"));
    let unpinned = client().post(balancer.url("/logout")).send().await;
    assert_eq!(header(&unpinned.expect("an answer"), "set-cookie"), None);
}

/// Its node freezes, somebody else answers, and nothing of that is its session's fault.
#[tokio::test]
async fn a_client_that_never_logged_in_elsewhere_goes_back_to_its_node() {
    let settings = "[health]\ninterval_ms = 50\ntimeout_ms = 1000";
    let (one, _two, balancer) = two_nodes(settings).await;
    let url = balancer.url("/");
    let quiet = balancer.pin_to(&url, &one).await;
    let busy = balancer.pin_to(&url, &one).await;
    one.set(Mode::Freeze);
    eventually("it is down", || async {
        balancer.state("node-1").await == "down"
    })
    .await;
    for cookie in [&quiet, &busy] {
        let refused = post(&balancer.url("/gone"), cookie).await;
        assert_eq!(node_of(&refused).as_deref(), Some("node-2"));
        assert_eq!(
            header(&refused, "set-cookie"),
            None,
            "that node ended nothing"
        );
    }
    let started = log_in(&url, Some(&busy)).await;
    let busy = affinity_of(&started).expect("it belongs to the other node now");
    one.set(OK);
    eventually("it is up", || async {
        balancer.state("node-1").await == "up"
    })
    .await;
    for (cookie, node) in [(&quiet, "node-1"), (&busy, "node-2")] {
        for _ in 0..3 {
            let answer = get(&url, Some(cookie)).await;
            assert_eq!(node_of(&answer).as_deref(), Some(node));
        }
    }
    let moved = "load_balancer_moved_total{listener=\"sticky\",reason=\"down\"}";
    let repins = "load_balancer_repins_total{listener=\"sticky\",reason=\"down\"}";
    assert_eq!(
        (balancer.metric(moved).await, balancer.metric(repins).await),
        (3, 1)
    );
}

/// ingress-nginx #13484.
#[tokio::test]
async fn a_draining_node_gets_no_new_session_from_a_client_without_one() {
    let (one, two, balancer) = two_nodes("").await;
    let url = balancer.url("/");
    let pinned = balancer.pin_to(&url, &one).await;
    balancer.order("node-1", r#"{"state":"drain"}"#).await;
    let (before, elsewhere) = (one.requests().len(), two.requests().len());
    for _ in 0..4 {
        get(&url, None).await;
        log_in(&url, None).await;
    }
    assert_eq!(
        one.requests().len(),
        before,
        "anonymous visitors do not keep it busy"
    );
    assert_eq!(two.requests().len(), elsewhere + 8);

    // With a session it may start the next one there, without one not, whatever its pin says.
    let again = log_in(&url, Some(&format!("{pinned}; session=1"))).await;
    assert_eq!(node_of(&again).as_deref(), Some("node-1"));
    let started = log_in(&url, Some(&pinned)).await;
    assert_eq!(node_of(&started).as_deref(), Some("node-2"));
    assert!(affinity_of(&started).is_some());
    assert_eq!(header(&started, "x-balancer-retries").as_deref(), Some("1"));
    let last = two.requests().pop().expect("a request");
    assert!(
        !last.contains("x-balancer-drain"),
        "only the one that drains is told: {last}"
    );
    let sample = "load_balancer_repins_total{listener=\"sticky\",reason=\"refused\"}";
    assert_eq!(balancer.metric(sample).await, 1);

    // And it is rid of those whose session is over.
    let refused = post(&balancer.url("/gone"), &pinned).await;
    assert_eq!(node_of(&refused).as_deref(), Some("node-1"));
    assert!(is_cleared(&refused), "{refused:?}");
}

#[tokio::test]
async fn nobody_outside_tells_a_node_that_it_drains() {
    let (one, _two, balancer) = two_nodes("").await;
    let pinned = balancer.pin_to(&balancer.url("/"), &one).await;
    let request = client()
        .post(balancer.url("/login"))
        .header("cookie", &pinned)
        .header("x-balancer-drain", "1")
        .header("x-session-event", "started");
    let answer = request.send().await.expect("an answer");
    assert_eq!(node_of(&answer).as_deref(), Some("node-1"));
    let seen = one.requests().pop().expect("a request");
    assert!(
        !seen.contains("drain") && !seen.contains("x-session-event"),
        "{seen}"
    );
}

#[tokio::test]
async fn the_first_cookie_counts_that_is_genuine_and_leads_somewhere() {
    let ip = own_ip();
    let nodes = [
        Upstream::start(ip, 1).await,
        Upstream::start(ip, 2).await,
        Upstream::start(ip, 3).await,
    ];
    let all = Balancer::start(ip, &[&nodes[0], &nodes[1], &nodes[2]], "").await;
    let url = all.url("/");
    let removed = all.pin_to(&url, &nodes[2]).await;
    let (first, second) = (
        all.pin_to(&url, &nodes[0]).await,
        all.pin_to(&url, &nodes[1]).await,
    );
    drop(all);
    let balancer = Balancer::start(own_ip(), &[&nodes[0], &nodes[1]], "").await;
    let url = balancer.url("/");

    let forged = format!("affinity-sticky={}", "A".repeat(38));
    let old = "affinity-sticky=old";
    for fields in [
        vec![format!("{old}; {second}")],
        vec![format!("{forged}; {old}; {removed}; {second}; {first}")],
        vec![
            old.to_owned(),
            forged.clone(),
            second.clone(),
            first.clone(),
        ],
        vec![format!("{second}; {old}")],
        vec![format!("{}; {second}", vec![old; 40].join("; "))],
        vec![format!("{}; {second}", [forged.as_str(); 7].join("; "))],
    ] {
        for _ in 0..3 {
            let mut request = client().get(&url);
            for field in &fields {
                request = request.header("cookie", field);
            }
            let answer = request.send().await.expect("an answer");
            assert_eq!(node_of(&answer).as_deref(), Some("node-2"), "{fields:?}");
        }
    }
    let count = async |reason: &str| {
        let sample = format!(
            "load_balancer_refused_cookies_total{{listener=\"sticky\",reason=\"{reason}\"}}"
        );
        balancer.metric(&sample).await
    };
    assert_eq!(count("unknown").await, 3);
    assert_eq!(count("malformed").await, 3 * (1 + 1 + 1 + 1 + 40));
    assert_eq!(count("forged").await, 3 * (1 + 1 + 7));

    // The work for one request has a bound.
    let flood = format!("{}; {second}", vec![forged.as_str(); 100].join("; "));
    let before = count("forged").await;
    get(&url, Some(&flood)).await;
    assert_eq!(count("forged").await, before + 8);
    assert_eq!(count("surplus").await, 93);
    assert!(
        nodes
            .iter()
            .flat_map(Upstream::requests)
            .all(|seen| !seen.contains("affinity"))
    );
}

#[tokio::test]
async fn listeners_on_one_host_have_cookies_of_their_own() {
    let ip = own_ip();
    let (one, two) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    let listeners = format!(
        "[[listeners]]\nstrategy = \"second\"\naddress = \"{ip}:8083\"\naffinity = true\n\
         cookie = {{ name = \"Lb\", path = \"/shop\", same_site = \"strict\", lifetime_s = 600, persistent = true }}"
    );
    let balancer = Balancer::start(ip, &[&one, &two], &listeners).await;
    let (url, other_url) = (balancer.url("/"), format!("http://{ip}:8083/"));
    let first = balancer.pin_to(&url, &one).await;
    let second = loop {
        let answer = log_in(&other_url, None).await;
        if node_of(&answer).as_deref() == Some("node-2") {
            break header(&answer, "set-cookie").expect("a cookie");
        }
    };
    assert!(
        second.starts_with("Lb=")
            && second.ends_with("; Max-Age=600; Path=/shop; HttpOnly; SameSite=Strict"),
        "{second}"
    );
    let second = second.split(';').next().expect("a first part").to_owned();
    let both = format!("affinity=old; {first}; {second}; affinity-third=x; mine=1");
    for _ in 0..3 {
        assert_eq!(
            node_of(&get(&url, Some(&both)).await).as_deref(),
            Some("node-1")
        );
        assert_eq!(
            node_of(&get(&other_url, Some(&both)).await).as_deref(),
            Some("node-2")
        );
    }
    get(&balancer.redis_url("/"), Some(&both)).await;
    for seen in one
        .requests()
        .iter()
        .chain(&two.requests())
        .filter(|seen| seen.contains("mine"))
    {
        assert!(seen.contains(": mine=1\r\n"), "only its own: {seen}");
    }
    let left = post(&format!("{other_url}logout"), &both).await;
    assert_eq!(
        header(&left, "set-cookie").as_deref(),
        Some("Lb=; Max-Age=0; Path=/shop; HttpOnly; SameSite=Strict")
    );
}
