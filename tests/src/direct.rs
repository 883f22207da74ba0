//! Requests to one node, past the load balancer, with nothing in them but what the test says.

use cluster::Cluster;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{Answer, send};

/// A request to a node itself, past the balancer.
pub fn at_node(
    cluster: &Cluster,
    node: &str,
    strategy: &str,
    method: Method,
    path: &str,
) -> RequestBuilder {
    Client::new()
        .request(method, format!("{}{path}", cluster.node_url(node)))
        .header("x-session-strategy", strategy)
}

/// The body of a login of `user` with the right password.
pub fn wish(cluster: &Cluster, user: &str) -> Value {
    json!({"user": user, "password": cluster.password()})
}

/// A login of `user` with a wrong password.
pub async fn guess_at(cluster: &Cluster, node: &str, strategy: &str, user: &str) -> Answer {
    let wish = json!({"user": user, "password": "wrong"});
    send(at_node(cluster, node, strategy, Method::POST, "/login").json(&wish)).await
}

/// Status and type of an answer that is a problem.
pub fn problem(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["type"].as_str().unwrap_or(""))
}

/// `name=value` of each cookie of the session that an answer sets.
pub fn session_cookies(answer: &Answer) -> Vec<String> {
    let set = answer
        .set_cookies()
        .filter(|line| !line.contains("affinity-"));
    set.map(|line| line.split(';').next().unwrap_or("").to_owned())
        .collect()
}
