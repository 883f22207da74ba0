//! The control port: what [`agent::wire`] says, for those who have the token.
//!
//! Each call runs to its end, even if the one who made it leaves: a process that is half started helps nobody.

use std::{collections::BTreeMap, io, os::unix::process::ExitStatusExt, sync::Arc, time::Duration};

use agent::{
    AgentError, addresses, limit,
    link::{Disturbance, Link, Links, probe},
    wire::{self, Ended, LONGEST_POLL, MAX_BODY_BYTES, Question, Start, Status, Stop},
};
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Path, Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use listen::{Listeners, Token};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{control_error::ControlError, supervise::Supervised};

/// Far more than one lab and its health checks need.
const MAX_CONNECTIONS: usize = 64;
/// For a complete head, and for an idle connection.
const HEAD_WITHIN: Duration = Duration::from_secs(75);
/// For a complete body.
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// Nobody waits for an answer through a link for longer.
const LONGEST_PATIENCE: Duration = Duration::from_mins(1);
/// Nobody waits for an end for longer.
const LONGEST_GRACE: Duration = Duration::from_hours(1);

/// The proxies of the command line.
pub(crate) struct Proxies {
    /// Dropped before the thread that they run on.
    pub(crate) open: BTreeMap<String, Proxy>,
    pub(crate) links: Links,
}

/// One of them.
pub(crate) struct Proxy {
    pub(crate) link: Link,
    pub(crate) target: String,
}

/// What the calls act on.
#[derive(Clone)]
pub(crate) struct Control(Arc<Parts>);

struct Parts {
    supervised: Arc<Supervised>,
    token: Token,
    proxies: Option<Proxies>,
}

impl Control {
    pub(crate) fn new(supervised: Arc<Supervised>, token: Token, proxies: Option<Proxies>) -> Self {
        Self(Arc::new(Parts {
            supervised,
            token,
            proxies,
        }))
    }

    /// Serves from now on, until the runtime ends.
    pub(crate) fn serve(self, listeners: Vec<std::net::TcpListener>) -> io::Result<()> {
        for listener in &listeners {
            tracing::info!(address = %listener.local_addr()?, "control port");
        }
        let listeners = Listeners::new(listeners)?;
        let router = self.router();
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        tokio::spawn(async move {
            loop {
                // Never closed, so this only waits.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                let (stream, _) = listeners.accept().await;
                tokio::spawn(serve_connection(stream, router.clone(), place));
            }
        });
        Ok(())
    }

    fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(async || "alive\n"))
            .route("/process", get(status))
            .route("/process/ended", get(ended))
            .route("/process/start", post(start))
            .route("/process/kill", post(kill))
            .route("/process/stop", post(stop))
            .route("/process/pause", post(pause))
            .route("/process/resume", post(resume))
            .route("/links/{name}", put(disturb).delete(undisturb))
            .route("/links/{name}/probe", post(probe_link))
            .fallback(async || {
                ControlError::NotFound("there is no such call; see docs/agent.md".into())
            })
            .method_not_allowed_fallback(async || ControlError::Method)
            .layer(from_fn_with_state(self.clone(), with_token))
            .with_state(self)
    }

    fn proxy(&self, name: &str) -> Result<&Proxy, ControlError> {
        let proxies = self.0.proxies.as_ref();
        let found = proxies.and_then(|proxies| proxies.open.get(name));
        found.ok_or_else(|| {
            let known: Vec<&str> = proxies
                .iter()
                .flat_map(|proxies| proxies.open.keys().map(String::as_str))
                .collect();
            ControlError::NotFound(format!(
                "no link has that name; there are: {}",
                known.join(", ")
            ))
        })
    }
}

async fn serve_connection(stream: TcpStream, router: Router, place: OwnedSemaphorePermit) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection broke off");
    }
    drop(place);
}

/// Lets pass who brings the token; a health check has none.
async fn with_token(State(control): State<Control>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.map(HeaderValue::as_bytes);
    if request.uri().path() == "/healthz" || control.0.token.is_in(given) {
        next.run(request).await
    } else {
        let refused = ControlError::Unauthorized.into_response();
        ([(header::WWW_AUTHENTICATE, "Bearer")], refused).into_response()
    }
}

async fn status(State(control): State<Control>) -> Result<Json<Status>, ControlError> {
    let agent = control.0.supervised.agent();
    let pid = agent.pid();
    // It may end while we look: then it has no threads.
    let thread_states = agent.thread_states().unwrap_or_default();
    // One that stands still answers nobody: no need to wait for it.
    let can_answer = pid.is_some() && !thread_states.iter().all(|state| *state == 'T');
    let ready = can_answer && agent.spec().ready.look().await.is_ok();
    Ok(Json(Status {
        name: agent.spec().name.clone(),
        pid,
        running: pid.is_some(),
        ready,
        thread_states,
        ended: agent.has_ended().map(ExitStatusExt::into_raw),
        usage: agent.usage()?,
        cpu_limit: limit::cpu_cores(),
        // A kernel that does not tell them is no reason to tell nothing.
        addresses: addresses::own().unwrap_or_default(),
        links: links(control.0.proxies.as_ref()).await,
    }))
}

async fn links(proxies: Option<&Proxies>) -> wire::LinksStatus {
    let Some(proxies) = proxies else {
        return wire::LinksStatus::default();
    };
    let open = proxies.open.iter().map(|(name, proxy)| wire::LinkStatus {
        name: name.clone(),
        address: proxy.link.listens_at(),
        target: proxy.target.clone(),
        connections: proxy.link.connections(),
        disturbance: proxy.link.disturbance(),
    });
    wire::LinksStatus {
        cpu_us: proxies.links.cpu_us().await.ok(),
        open: open.collect(),
    }
}

#[derive(Deserialize)]
struct Within {
    within_ms: Option<u64>,
}

async fn ended(
    State(control): State<Control>,
    Query(within): Query<Within>,
) -> Result<Response, ControlError> {
    let within = within.within_ms.map_or(LONGEST_POLL, Duration::from_millis);
    match timeout(
        within.min(LONGEST_POLL),
        control.0.supervised.agent().ended(),
    )
    .await
    {
        Ok(status) => Ok(Json(Ended {
            status: status?.into_raw(),
        })
        .into_response()),
        Err(_) => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

async fn start(State(control): State<Control>, body: Body) -> Result<StatusCode, ControlError> {
    let Start { more_args } = read(body).await?;
    // An argument cannot hold a NUL, and no command line is as long as a body.
    to_its_end(async move { control.0.supervised.start(more_args).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn kill(State(control): State<Control>) -> Result<StatusCode, ControlError> {
    to_its_end(async move { control.0.supervised.kill().await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn stop(State(control): State<Control>, body: Body) -> Result<Json<Ended>, ControlError> {
    let Stop { grace_ms } = read(body).await?;
    let grace = Duration::from_millis(grace_ms).min(LONGEST_GRACE);
    let status = to_its_end(async move { control.0.supervised.stop(grace).await }).await?;
    Ok(Json(Ended {
        status: status.into_raw(),
    }))
}

async fn pause(State(control): State<Control>) -> Result<StatusCode, ControlError> {
    to_its_end(async move { control.0.supervised.agent().pause().await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn resume(State(control): State<Control>) -> Result<StatusCode, ControlError> {
    to_its_end(async move { control.0.supervised.agent().resume().await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn disturb(
    State(control): State<Control>,
    Path(name): Path<String>,
    body: Body,
) -> Result<StatusCode, ControlError> {
    let proxy = control.proxy(&name)?;
    let disturbance: Disturbance = read(body).await?;
    proxy.link.disturb(disturbance);
    Ok(StatusCode::NO_CONTENT)
}

async fn undisturb(
    State(control): State<Control>,
    Path(name): Path<String>,
) -> Result<StatusCode, ControlError> {
    control.proxy(&name)?.link.heal();
    Ok(StatusCode::NO_CONTENT)
}

async fn probe_link(
    State(control): State<Control>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response, ControlError> {
    let address = control.proxy(&name)?.link.address();
    let Question { question, patience } = read(body).await?;
    let met = probe(address, question.as_bytes(), patience.min(LONGEST_PATIENCE)).await;
    Ok(Json(met).into_response())
}

/// Not even the end of the connection breaks it off.
async fn to_its_end<T: Send + 'static>(
    call: impl Future<Output = Result<T, AgentError>> + Send + 'static,
) -> Result<T, ControlError> {
    match tokio::spawn(call).await {
        Ok(outcome) => Ok(outcome?),
        Err(error) => Err(ControlError::Broken(error.to_string())),
    }
}

/// A JSON body; none at all is an empty object.
async fn read<T: DeserializeOwned>(body: Body) -> Result<T, ControlError> {
    let bytes = timeout(BODY_WITHIN, to_bytes(body, MAX_BODY_BYTES))
        .await
        .map_err(|_| ControlError::Invalid("the body took too long to arrive".into()))?
        .map_err(|_| {
            ControlError::Invalid(format!(
                "the body broke off, or has more than {MAX_BODY_BYTES} bytes"
            ))
        })?;
    let bytes = if bytes.is_empty() { b"{}" } else { &bytes[..] };
    serde_json::from_slice(bytes).map_err(|error| ControlError::Invalid(error.to_string()))
}
