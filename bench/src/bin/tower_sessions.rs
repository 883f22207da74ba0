//! The shop on axum and tower-sessions, with the settings that their docs show: the memory store of `tower-sessions`, or
//! Redis through `tower-sessions-redis-store` and a pool of six connections. One worker thread and the allocator of our
//! own node. `/plain` is outside the layer, as a handler without a session would be.

use std::io::Write as _;
use std::net::SocketAddr;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bench::{Credentials, Login, MAX_LINES, Me, Plain};
use clap::Parser;
use session::{Cart, Change, Line};
use tower_sessions::cookie::time::Duration;
use tower_sessions::{Expiry, MemoryStore, Session, SessionManagerLayer, SessionStore};
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::{ClientLike, Config, Pool};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    listen: SocketAddr,
    /// Keeps sessions in this Redis; without it they live in memory.
    #[arg(long)]
    redis_url: Option<String>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        // Spawned, so that everything happens on the worker, as in our node.
        .block_on(async { tokio::spawn(serve(args)).await? })
}

async fn serve(args: Args) -> Result<(), Failure> {
    let app = match args.redis_url {
        None => app(MemoryStore::default(), "tower-sessions-memory"),
        Some(url) => {
            let pool = Pool::new(Config::from_url(&url)?, None, None, None, 6)?;
            let _running = pool.connect();
            pool.wait_for_connect().await?;
            app(RedisStore::new(pool), "tower-sessions-redis")
        }
    };
    let listener = tokio::net::TcpListener::bind(args.listen).await?;
    Ok(axum::serve(listener, app).await?)
}

fn app<S: SessionStore + Clone>(store: S, strategy: &'static str) -> Router {
    let sessions = SessionManagerLayer::new(store)
        .with_secure(false) // plain HTTP on loopback
        .with_expiry(Expiry::OnInactivity(Duration::minutes(30)));
    Router::new()
        .route("/login", post(log_in))
        .route("/me", get(me))
        .route("/cart/lines", post(add))
        .route("/cart/lines/{id}", delete(remove))
        .layer(sessions)
        .route("/plain", get(async || Json(Plain::default())))
        .with_state(strategy)
}

async fn log_in(
    session: Session,
    Json(credentials): Json<Credentials>,
) -> Result<StatusCode, StatusCode> {
    session.cycle_id().await.map_err(broken)?;
    let login = Login::new(credentials.user);
    session.insert("login", login).await.map_err(broken)?;
    Ok(StatusCode::OK)
}

async fn me(
    State(strategy): State<&'static str>,
    session: Session,
) -> Result<Json<Me>, StatusCode> {
    Ok(Json(Me::new(login(&session).await?, strategy)))
}

async fn add(
    session: Session,
    Json(line): Json<Line>,
) -> Result<(StatusCode, Json<Cart>), StatusCode> {
    let cart = change(&session, Change::Add(line)).await?;
    Ok((StatusCode::CREATED, Json(cart)))
}

async fn remove(session: Session, Path(id): Path<String>) -> Result<Json<Cart>, StatusCode> {
    Ok(Json(change(&session, Change::Remove(id)).await?))
}

async fn change(session: &Session, change: Change) -> Result<Cart, StatusCode> {
    login(session).await?;
    let cart = session.get("cart").await.map_err(broken)?;
    let mut cart: Cart = cart.unwrap_or_default();
    cart.apply(change, MAX_LINES)
        .map_err(|_| StatusCode::CONFLICT)?;
    session.insert("cart", &cart).await.map_err(broken)?;
    Ok(cart)
}

async fn login(session: &Session) -> Result<Login, StatusCode> {
    let login = session.get("login").await.map_err(broken)?;
    login.ok_or(StatusCode::UNAUTHORIZED)
}

#[allow(clippy::needless_pass_by_value, reason = "a form for `map_err`")]
fn broken(error: tower_sessions::session::Error) -> StatusCode {
    // Not with `eprintln!`, which panics when nobody reads stderr any more.
    let _ = writeln!(std::io::stderr(), "tower_sessions: {error}");
    StatusCode::INTERNAL_SERVER_ERROR
}
