//! An agent elsewhere: the methods of [`Agent`](crate::Agent) over the control port of the binary `agent`.
//!
//! Fault semantics are those of the agent beside the process: it answers only after it saw the effect. Every call has a
//! deadline; an agent that does not answer is an error and never taken for a process that does not run.

use std::{
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    time::{Duration, Instant},
};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    agent::Usage,
    error::AgentError,
    link::{Disturbance, Met},
    wire::{self, Ended, LONGEST_POLL, Problem, Question, Start, Status, Stop},
};

/// For an answer, beyond what the agent itself waits for.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// For a connection to an agent.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How long the agent may hold back the answer about an end. Short of its own limit.
const POLL: Duration = Duration::from_secs(9);

/// Talks to one agent. Cloning it is cheap, and the clones share its connections.
#[derive(Clone)]
pub struct Remote {
    name: String,
    url: String,
    bearer: String,
    ready_within: Duration,
    http: Client,
}

impl Remote {
    /// The agent at `url` (`http://10.0.0.3:7070`), which lets its process become ready within `ready_within`.
    /// `name` is for errors. Nothing is asked yet.
    pub fn new(
        name: impl Into<String>,
        url: impl Into<String>,
        token: &str,
        ready_within: Duration,
    ) -> Result<Self, AgentError> {
        let (name, url) = (name.into(), url.into());
        let http = Client::builder()
            // A proxy from the environment, or an answer that sends us elsewhere, must not see the token.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .build();
        let http = http.map_err(|error| AgentError::Unreachable {
            name: name.clone(),
            url: url.clone(),
            problem: words(&error),
        })?;
        Ok(Self {
            name,
            url: url.trim_end_matches('/').to_owned(),
            bearer: format!("Bearer {}", token.trim_end()),
            ready_within,
            http,
        })
    }

    /// The name in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The agent's control port, as `http://HOST:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything that the agent knows about its process.
    pub async fn status(&self) -> Result<Status, AgentError> {
        let answer = self.ask(Method::GET, "/process", ANSWER_WITHIN).await?;
        self.read(answer).await
    }

    /// Starts the process and waits until it is ready. If it does not become ready, it is killed.
    pub async fn start(&self) -> Result<(), AgentError> {
        self.start_life(None).await
    }

    /// The same, with these arguments after those of the agent's command line, in the place of those that were given
    /// here before. [`start`](Self::start) keeps them.
    pub async fn start_with(&self, more_args: Vec<String>) -> Result<(), AgentError> {
        self.start_life(Some(more_args)).await
    }

    async fn start_life(&self, more_args: Option<Vec<String>>) -> Result<(), AgentError> {
        let within = self.ready_within + ANSWER_WITHIN;
        self.tell(Method::POST, "/process/start", &Start { more_args }, within)
            .await?;
        Ok(())
    }

    /// SIGKILL to the process and all that it forked; returns when it is gone.
    pub async fn kill(&self) -> Result<(), AgentError> {
        self.command("/process/kill").await
    }

    /// SIGTERM, and SIGKILL to what still runs after `grace`.
    pub async fn stop(&self, grace: Duration) -> Result<ExitStatus, AgentError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let (stop, within) = (Stop { grace_ms }, grace.saturating_add(ANSWER_WITHIN));
        let answer = self
            .tell(Method::POST, "/process/stop", &stop, within)
            .await?;
        let ended: Ended = self.read(answer).await?;
        Ok(ExitStatus::from_raw(ended.status))
    }

    /// SIGSTOP; returns when every thread stands still.
    pub async fn pause(&self) -> Result<(), AgentError> {
        self.command("/process/pause").await
    }

    /// SIGCONT; returns when no thread stands still any more.
    pub async fn resume(&self) -> Result<(), AgentError> {
        self.command("/process/resume").await
    }

    /// [`stop`](Self::stop), then [`start`](Self::start).
    pub async fn restart(&self, grace: Duration) -> Result<(), AgentError> {
        self.stop(grace).await?;
        self.start().await
    }

    /// Waits until the process ends, for whatever reason, and says how. At once when it has ended already.
    ///
    /// The agent is asked again every few seconds; one that cannot be reached is an error. An end that is followed by a
    /// start between two questions is not seen.
    pub async fn ended(&self) -> Result<ExitStatus, AgentError> {
        let path = format!("/process/ended?within_ms={}", POLL.as_millis());
        loop {
            let answer = self
                .ask(Method::GET, &path, LONGEST_POLL + ANSWER_WITHIN)
                .await?;
            if answer.status() != StatusCode::NO_CONTENT {
                let ended: Ended = self.read(answer).await?;
                return Ok(ExitStatus::from_raw(ended.status));
            }
        }
    }

    /// CPU time over all lives, and memory now.
    pub async fn usage(&self) -> Result<Usage, AgentError> {
        Ok(self.status().await?.usage)
    }

    /// The process id, while it runs; it means something only where the agent is.
    pub async fn pid(&self) -> Result<Option<u32>, AgentError> {
        Ok(self.status().await?.pid)
    }

    /// Whether it runs; a paused process does.
    pub async fn is_running(&self) -> Result<bool, AgentError> {
        Ok(self.status().await?.running)
    }

    /// The state of each of its threads: `T` stands still.
    pub async fn thread_states(&self) -> Result<Vec<char>, AgentError> {
        let status = self.status().await?;
        if status.running {
            Ok(status.thread_states)
        } else {
            Err(self.not_running())
        }
    }

    /// Disturbs a link from now on, in the place of what disturbed it before.
    pub async fn disturb(&self, link: &str, disturbance: Disturbance) -> Result<(), AgentError> {
        let path = format!("/links/{link}");
        self.tell(Method::PUT, &path, &disturbance, ANSWER_WITHIN)
            .await?;
        Ok(())
    }

    /// Disturbs a link no more.
    pub async fn undisturb(&self, link: &str) -> Result<(), AgentError> {
        let path = format!("/links/{link}");
        self.ask(Method::DELETE, &path, ANSWER_WITHIN).await?;
        Ok(())
    }

    /// Sends a question through a link, from where the agent is, and says what it met.
    pub async fn probe(
        &self,
        link: &str,
        question: impl Into<String>,
        patience: Duration,
    ) -> Result<Met, AgentError> {
        let path = format!("/links/{link}/probe");
        let question = Question {
            question: question.into(),
            patience,
        };
        let within = patience.saturating_add(ANSWER_WITHIN);
        let answer = self.tell(Method::POST, &path, &question, within).await?;
        self.read(answer).await
    }

    async fn command(&self, path: &str) -> Result<(), AgentError> {
        self.ask(Method::POST, path, 2 * ANSWER_WITHIN).await?;
        Ok(())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        within: Duration,
    ) -> Result<Response, AgentError> {
        self.send(self.request(method, path, within)).await
    }

    async fn tell(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        within: Duration,
    ) -> Result<Response, AgentError> {
        self.send(self.request(method, path, within).json(body))
            .await
    }

    fn request(&self, method: Method, path: &str, within: Duration) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .header(reqwest::header::AUTHORIZATION, &self.bearer)
            .timeout(within)
    }

    /// Turns an answer that says no into an error.
    async fn send(&self, request: RequestBuilder) -> Result<Response, AgentError> {
        let begun = Instant::now();
        let answer = request.send().await.map_err(|error| {
            tracing::debug!(name = self.name, took = ?begun.elapsed(), "no answer");
            self.unreachable(words(&error))
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = self.body(answer).await?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if problem.kind == wire::NOT_RUNNING => Err(self.not_running()),
            Ok(problem) => Err(AgentError::Remote {
                name: self.name.clone(),
                status: status.as_u16(),
                detail: problem.detail,
            }),
            Err(_) => Err(self.unreachable(format!("{status}, and not in the words of an agent"))),
        }
    }

    async fn read<T: DeserializeOwned>(&self, answer: Response) -> Result<T, AgentError> {
        let body = self.body(answer).await?;
        serde_json::from_slice(&body)
            .map_err(|error| self.unreachable(format!("its answer makes no sense: {error}")))
    }

    /// Never more than an agent would answer.
    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, AgentError> {
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(piece)) if body.len() + piece.len() <= wire::MAX_BODY_BYTES => {
                    body.extend_from_slice(&piece);
                }
                Ok(Some(_)) => return Err(self.unreachable("its answer is too long".into())),
                Ok(None) => return Ok(body),
                Err(error) => return Err(self.unreachable(words(&error))),
            }
        }
    }

    fn not_running(&self) -> AgentError {
        AgentError::NotRunning {
            name: self.name.clone(),
        }
    }

    fn unreachable(&self, problem: String) -> AgentError {
        AgentError::Unreachable {
            name: self.name.clone(),
            url: self.url.clone(),
            problem,
        }
    }
}

/// An error with its causes: reqwest's own words alone do not say what happened.
fn words(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        "no answer".to_owned()
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
