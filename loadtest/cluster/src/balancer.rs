//! What an operator may ask of the load balancer: which nodes it sends to, and to leave one out. Ours is asked at its
//! admin port, HAProxy at its socket; both answer in the same words.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use reqwest::Client;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::ClusterError;

/// For one question.
const DEADLINE: Duration = Duration::from_secs(2);

/// More than any answer: HAProxy writes about 1 KiB for each node of each strategy.
const LONGEST_ANSWER_BYTES: u64 = 4 << 20;

/// What an operator wants of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Takes everybody.
    Ready,
    /// Keeps the clients that are pinned to it and takes no new ones.
    Drain {
        /// How long these may stay; only our own balancer knows a limit.
        deadline_s: Option<u64>,
    },
    /// Takes nobody.
    Maint,
}

impl Order {
    /// As both load balancers write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain { .. } => "drain",
            Self::Maint => "maint",
        }
    }
}

/// How a node looks from one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// The strategy.
    pub listener: String,
    /// The node.
    pub node: String,
    /// `up`, `down`, `drain`, `maint`, and what else the load balancer calls it.
    pub word: String,
}

/// Where the load balancer takes orders.
pub(super) enum AdminPort {
    /// Ours.
    Http { address: SocketAddr, token: String },
    /// HAProxy's.
    Socket { path: PathBuf },
}

impl AdminPort {
    /// Every node, at every listener.
    pub(super) async fn nodes(&self) -> Result<Vec<NodeState>, ClusterError> {
        match self {
            Self::Http { address, token } => {
                let answer = client()?
                    .get(format!("http://{address}/nodes"))
                    .bearer_auth(token)
                    .send()
                    .await
                    .and_then(reqwest::Response::error_for_status)
                    .map_err(failed)?;
                Ok(answer.json::<Page>().await.map_err(failed)?.into_states())
            }
            Self::Socket { path } => parse_stat(&tell(path, "show stat\n").await?),
        }
    }

    /// Sets what is wanted of a node, at all of `listeners`.
    pub(super) async fn order(
        &self,
        node: &str,
        order: Order,
        listeners: impl Iterator<Item = &str>,
    ) -> Result<(), ClusterError> {
        match self {
            Self::Http { address, token } => {
                let mut body = serde_json::json!({ "state": order.word() });
                if let Order::Drain {
                    deadline_s: Some(deadline_s),
                } = order
                {
                    body["deadline_s"] = deadline_s.into();
                }
                client()?
                    .put(format!("http://{address}/nodes/{node}/state"))
                    .bearer_auth(token)
                    .json(&body)
                    .send()
                    .await
                    .and_then(reqwest::Response::error_for_status)
                    .map(drop)
                    .map_err(failed)
            }
            Self::Socket { path } => {
                for listener in listeners {
                    let command = format!("set server {listener}/{node} state {}\n", order.word());
                    let answer = tell(path, &command).await?;
                    // It says nothing when it obeys.
                    if !answer.trim().is_empty() {
                        return Err(ClusterError::Admin(answer.trim().to_owned()));
                    }
                }
                Ok(())
            }
        }
    }
}

/// A fresh one each time: the balancer may have been another process the last time.
fn client() -> Result<Client, ClusterError> {
    Client::builder()
        .timeout(DEADLINE)
        .no_proxy()
        .build()
        .map_err(failed)
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` wants it so")]
fn failed(error: reqwest::Error) -> ClusterError {
    ClusterError::Admin(error.to_string())
}

/// What `GET /nodes` answers, as far as it matters here.
#[derive(Deserialize)]
struct Page {
    listeners: Vec<ListenerView>,
}

#[derive(Deserialize)]
struct ListenerView {
    strategy: String,
    nodes: Vec<NodeView>,
}

#[derive(Deserialize)]
struct NodeView {
    name: String,
    state: String,
}

impl Page {
    fn into_states(self) -> Vec<NodeState> {
        let listeners = self.listeners.into_iter();
        listeners
            .flat_map(|listener| {
                listener.nodes.into_iter().map(move |node| NodeState {
                    listener: listener.strategy.clone(),
                    node: node.name,
                    word: node.state,
                })
            })
            .collect()
    }
}

/// One command, one answer: HAProxy closes the connection after it.
async fn tell(path: &PathBuf, command: &str) -> Result<String, ClusterError> {
    let conversation = async {
        let mut socket = UnixStream::connect(path).await?;
        socket.write_all(command.as_bytes()).await?;
        let mut answer = String::new();
        socket
            .take(LONGEST_ANSWER_BYTES)
            .read_to_string(&mut answer)
            .await?;
        std::io::Result::Ok(answer)
    };
    match timeout(DEADLINE, conversation).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(ClusterError::Admin(error.to_string())),
        Err(_) => Err(ClusterError::Admin(format!(
            "no answer within {DEADLINE:?}"
        ))),
    }
}

/// `show stat`: comma-separated, with the names of the columns in the first line.
fn parse_stat(text: &str) -> Result<Vec<NodeState>, ClusterError> {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default().trim_start_matches("# ");
    let column = |name: &str| {
        head.split(',')
            .position(|column| column == name)
            .ok_or_else(|| ClusterError::Admin(format!("`show stat` has no column {name}")))
    };
    let (listener, node, word) = (column("pxname")?, column("svname")?, column("status")?);
    let states = lines.filter_map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        let node = *fields.get(node)?;
        node.starts_with("node-").then_some(())?;
        // "UP 1/3" is a node that is up and has failed a check.
        let word = fields.get(word)?.split(' ').next()?;
        Some(NodeState {
            listener: (*fields.get(listener)?).to_owned(),
            node: node.to_owned(),
            word: word.to_lowercase(),
        })
    });
    Ok(states.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(listener: &str, node: &str, word: &str) -> NodeState {
        NodeState {
            listener: listener.into(),
            node: node.into(),
            word: word.into(),
        }
    }

    #[test]
    fn both_balancers_are_understood() {
        let ours = r#"{"listeners": [{"strategy": "jwt", "requests": 3, "nodes": [{"name": "node-1", "state": "up"}]}]}"#;
        let page: Page = serde_json::from_str(ours).unwrap();
        assert_eq!(page.into_states(), [state("jwt", "node-1", "up")]);
        let haproxy = "# pxname,svname,qcur,status,weight,\njwt,FRONTEND,,OPEN,,\njwt,node-1,0,UP 1/2,1,\n\
                       jwt,node-2,0,MAINT,1,\njwt,BACKEND,0,UP,2,\n";
        assert_eq!(
            parse_stat(haproxy).unwrap(),
            [
                state("jwt", "node-1", "up"),
                state("jwt", "node-2", "maint")
            ]
        );
        assert!(parse_stat("Unknown command.\n").is_err());
    }
}
