//! The shop on actix-web and actix-session, with the settings that their docs show: sealed cookies
//! (`CookieSessionStore`), or Redis (`RedisSessionStore`, one multiplexed connection that reconnects). One worker and the
//! allocator of our own node. `/plain` is outside the middleware, as a handler without a session would be.

use std::net::SocketAddr;

use actix_session::storage::{CookieSessionStore, RedisSessionStore, SessionStore};
use actix_session::{Session, SessionMiddleware};
use actix_web::cookie::Key;
use actix_web::error::{ErrorConflict, ErrorUnauthorized};
use actix_web::web::{Data, Json, Path};
use actix_web::{App, Error, HttpResponse, HttpServer, Responder, web};
use bench::{Credentials, Login, MAX_LINES, Me, Plain};
use clap::Parser;
use session::{Cart, Change, Line};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    listen: SocketAddr,
    /// Keeps sessions in this Redis; without it they live in cookies.
    #[arg(long)]
    redis_url: Option<String>,
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    match args.redis_url {
        None => {
            serve(args.listen, "actix-session-cookie", || {
                CookieSessionStore::default()
            })
            .await
        }
        Some(url) => {
            let store = RedisSessionStore::new(url)
                .await
                .map_err(std::io::Error::other)?;
            serve(args.listen, "actix-session-redis", move || store.clone()).await
        }
    }
}

async fn serve<S: SessionStore + 'static>(
    listen: SocketAddr,
    strategy: &'static str,
    store: impl Fn() -> S + Clone + Send + 'static,
) -> std::io::Result<()> {
    let key = Key::generate();
    HttpServer::new(move || {
        let sessions = SessionMiddleware::builder(store(), key.clone())
            .cookie_secure(false) // plain HTTP on loopback
            .build();
        App::new()
            .app_data(Data::new(strategy))
            .route("/plain", web::get().to(plain))
            .service(
                web::scope("")
                    .wrap(sessions)
                    .route("/login", web::post().to(log_in))
                    .route("/me", web::get().to(me))
                    .route("/cart/lines", web::post().to(add))
                    .route("/cart/lines/{id}", web::delete().to(remove)),
            )
    })
    .workers(1)
    .bind(listen)?
    .run()
    .await
}

async fn plain() -> impl Responder {
    Json(Plain::default())
}

async fn log_in(session: Session, credentials: Json<Credentials>) -> Result<HttpResponse, Error> {
    session.renew();
    session.insert("login", Login::new(credentials.into_inner().user))?;
    Ok(HttpResponse::Ok().finish())
}

async fn me(session: Session, strategy: Data<&'static str>) -> Result<Json<Me>, Error> {
    Ok(Json(Me::new(login(&session)?, **strategy)))
}

async fn add(session: Session, line: Json<Line>) -> Result<HttpResponse, Error> {
    let cart = change(&session, Change::Add(line.into_inner()))?;
    Ok(HttpResponse::Created().json(cart))
}

async fn remove(session: Session, id: Path<String>) -> Result<Json<Cart>, Error> {
    Ok(Json(change(&session, Change::Remove(id.into_inner()))?))
}

fn change(session: &Session, change: Change) -> Result<Cart, Error> {
    login(session)?;
    let mut cart: Cart = session.get("cart")?.unwrap_or_default();
    cart.apply(change, MAX_LINES).map_err(ErrorConflict)?;
    session.insert("cart", &cart)?;
    Ok(cart)
}

fn login(session: &Session) -> Result<Login, Error> {
    let login = session.get("login")?;
    login.ok_or_else(|| ErrorUnauthorized("not logged in"))
}
