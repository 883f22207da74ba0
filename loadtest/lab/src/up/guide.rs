//! What `lab up` prints: where everything is, and lines that work when pasted into a shell.
//!
//! A test runs every command line that stands here against a real cluster. Command lines are indented by two spaces.

use std::time::Duration;

use agent::Agent;
use evidence::strategy::Carriage;
use serde_json::json;

use cluster::{
    Cluster, Process,
    secrets::{ADMIN_TOKEN, OPERATOR_TOKEN},
};

const USER: &str = "user-000001";
const JSON: &str = "-H 'content-type: application/json'";

/// `curl` without progress bar, and with the line end that answers lack.
const CURL: &str = r"curl -sS -w '\n'";

/// The whole text.
pub(super) fn text(cluster: &Cluster, accounts: u32, took: Duration) -> String {
    let mut page = vec![format!(
        "The cluster is up after {:.1} s.",
        took.as_secs_f64()
    )];
    page.extend(addresses(cluster));
    page.push(format!(
        "\nAccounts: {USER} to user-{accounts:06}, all with the password {}",
        cluster.password()
    ));
    for strategy in cluster.strategies() {
        let carriage = cluster.about(strategy).map(|about| about.carriage);
        page.extend(match carriage {
            Some(Carriage::Tokens) => token_session(cluster, strategy),
            Some(Carriage::Cookie) | None => cookie_session(cluster, strategy),
        });
    }
    page.extend(operator(cluster));
    page.push(format!(
        "\nCtrl-C ends everything. Logs are in {}",
        cluster.dir().display()
    ));
    page.join("\n")
}

/// The line that kills a process.
pub(super) fn kill(process: &Process) -> String {
    process
        .here()
        .and_then(Agent::pid)
        .map_or_else(String::new, |pid| format!("kill -9 {pid}"))
}

fn addresses(cluster: &Cluster) -> Vec<String> {
    let line = |process: &Process, address: &str| {
        format!("  {:<14} {address:<26} {}", process.name(), kill(process))
    };
    let mut page = vec!["\nStrategies, each at the load balancer".to_owned()];
    page.extend(
        cluster
            .strategies()
            .map(|strategy| format!("  {strategy:<14} {}", cluster.url(strategy))),
    );
    page.push("\nProcesses; kill one and watch: it comes back".into());
    for node in cluster.nodes() {
        page.push(line(node, &cluster.node_url(node.name())));
    }
    page.push(line(cluster.balancer(), &cluster.admin_url()));
    if let (Some(store), Some(address)) = (cluster.store(), cluster.store_address()) {
        page.push(line(store, &address.to_string()));
    }
    page
}

/// The session in a cookie, which curl keeps in a jar.
fn cookie_session(cluster: &Cluster, strategy: &str) -> Vec<String> {
    let url = cluster.url(strategy);
    let jar = quote(
        &cluster
            .dir()
            .join(format!("{strategy}.jar"))
            .display()
            .to_string(),
    );
    let (login, line) = (login(cluster), line());
    vec![
        format!("\n{strategy}: log in, add a line, read the cart, log out"),
        format!("  {CURL} -c {jar} {JSON} -d {login} {url}/login"),
        format!("  {CURL} -b {jar} -c {jar} {JSON} -d {line} {url}/cart/lines"),
        format!("  {CURL} -b {jar} -c {jar} {url}/cart"),
        format!("  {CURL} -b {jar} -c {jar} -i -X POST {url}/logout"),
    ]
}

/// Token and cart in shell variables: the client holds all of its state.
fn token_session(cluster: &Cluster, strategy: &str) -> Vec<String> {
    let url = cluster.url(strategy);
    let (login, line) = (login(cluster), line());
    let bearer = r#"-H "authorization: Bearer $TOKEN""#;
    let token = r#"sed 's/.*"access_token": *"\([^"]*\)".*/\1/'"#;
    let cart = r"tr -d '\r' | sed -n 's/^x-cart: //p'";
    vec![
        format!(
            "\n{strategy}: log in, add a line, read the cart, log out, and use the token once more"
        ),
        format!("  TOKEN=$(curl -sS {JSON} -d {login} {url}/login | {token})"),
        format!(
            "  CART=$(curl -sS -D - -o /dev/null {bearer} {JSON} -d {line} {url}/cart/lines | {cart})"
        ),
        r#"  echo "x-cart: $CART""#.into(),
        format!(r#"  {CURL} {bearer} -H "x-cart: $CART" {url}/cart"#),
        format!("  {CURL} {bearer} -i -X POST {url}/logout"),
        format!("  {CURL} {bearer} {url}/me"),
    ]
}

/// What only an operator may do.
fn operator(cluster: &Cluster) -> Vec<String> {
    let with_token = |file: &str| {
        let path = cluster.dir().join(file).display().to_string();
        format!(
            r#"{CURL} -H "authorization: Bearer $(cat {})""#,
            quote(&path)
        )
    };
    let (operator, admin) = (with_token(OPERATOR_TOKEN), with_token(ADMIN_TOKEN));
    let admin_url = cluster.admin_url();
    let revoke = format!("admin/users/{USER}/revoke");
    let mut page =
        vec!["\nAs an operator: end every login of a user, where the strategy can".to_owned()];
    page.extend(cluster.strategies().map(|strategy| {
        if lives_in_a_node(cluster, strategy) {
            // Each node knows only its own sessions, and the load balancer would ask just one of them.
            let nodes = cluster.nodes().iter();
            let nodes: Vec<_> = nodes.map(|node| cluster.node_url(node.name())).collect();
            let header = format!("-H 'x-session-strategy: {strategy}'");
            let nodes = nodes.join(" ");
            format!("  for node in {nodes}; do {operator} {header} -X POST $node/{revoke}; done")
        } else {
            format!("  {operator} -X POST {}/{revoke}", cluster.url(strategy))
        }
    }));
    page.push("\nThe load balancer's view of the nodes, and its metrics".into());
    page.push(format!("  {admin} {admin_url}/nodes"));
    page.push(format!("  {admin} {admin_url}/metrics"));
    page
}

fn lives_in_a_node(cluster: &Cluster, strategy: &str) -> bool {
    cluster
        .about(strategy)
        .is_some_and(|about| about.state_lives == "node")
}

fn login(cluster: &Cluster) -> String {
    quote(&json!({"user": USER, "password": cluster.password()}).to_string())
}

fn line() -> String {
    quote(&json!({"id": "line-1", "sku": "tea", "quantity": 2}).to_string())
}

/// A word for the shell, whatever is in it.
fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        for word in [
            "/tmp/a-1.jar",
            "",
            "with space",
            "it's",
            r#"{"a":"$b `c` \d"}"#,
            "*",
            "ü",
        ] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quote(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
        assert_eq!(quote("/tmp/a-1.jar"), "/tmp/a-1.jar");
    }
}
