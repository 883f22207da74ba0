//! The node's part: our node with each strategy beside the shop on tower-sessions and on actix-session, on one thread each.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;

use crate::error::BenchError;
use crate::http::{Client, Connection};
use crate::machine;
use crate::slice::{self, Bench, Load, Measured, Target};
use crate::station::{self, Start, Station};
use crate::wrk::Ring;

pub(crate) const PLAIN: &str = "GET /plain";
pub(crate) const ME: &str = "GET /me";
/// In turn, so that carts do not grow and every station does the same.
pub(crate) const CART: &str = "POST /cart/lines, DELETE /cart/lines/{id}";

/// Sessions under load: more than connections, so that none meets itself; a multiple of any number of generator threads.
pub(crate) const SESSIONS: usize = 960;

/// A node to be measured.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    /// Its name in the report.
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    /// The strategy of our node; the alternatives have none.
    pub(crate) strategy: Option<&'static str>,
    /// Whether it keeps its sessions in Redis.
    pub(crate) redis: bool,
}

const fn ours(name: &'static str, strategy: &'static str, redis: bool) -> Kind {
    Kind {
        name,
        program: "shop",
        strategy: Some(strategy),
        redis,
    }
}

const fn other(name: &'static str, program: &'static str, redis: bool) -> Kind {
    Kind {
        name,
        program,
        strategy: None,
        redis,
    }
}

pub(crate) const STICKY: Kind = ours("shop, sticky", "sticky", false);
pub(crate) const REDIS: Kind = ours("shop, redis", "redis", true);
pub(crate) const JWT: Kind = ours("shop, jwt", "jwt", false);
pub(crate) const TOWER_MEMORY: Kind = other("tower-sessions, memory", "tower_sessions", false);
pub(crate) const TOWER_REDIS: Kind = other("tower-sessions, Redis", "tower_sessions", true);
pub(crate) const ACTIX_COOKIE: Kind = other("actix-session, cookie", "actix_session", false);
pub(crate) const ACTIX_REDIS: Kind = other("actix-session, Redis", "actix_session", true);

pub(crate) const ALL: [Kind; 7] = [
    STICKY,
    REDIS,
    JWT,
    TOWER_MEMORY,
    TOWER_REDIS,
    ACTIX_COOKIE,
    ACTIX_REDIS,
];

/// Runs the node's part.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Measured>, BenchError> {
    let redis = redis(bench).await?;
    let mut stations = Vec::new();
    for kind in &ALL {
        let station = start(bench, kind, redis.address, 10_000).await?;
        let rings = Rings::prepare(bench, &station).await?;
        stations.push((station, rings));
    }
    let mut targets = Vec::new();
    for work in [PLAIN, ME, CART] {
        targets.extend(stations.iter().map(|(station, rings)| Target {
            station,
            work,
            ring: rings.of(work),
            load: Load::Saturating,
        }));
    }
    slice::rounds(bench, &targets).await
}

/// A Redis of our own, beside the load generator, that keeps nothing on disk.
pub(crate) async fn redis(bench: &Bench) -> Result<Station, BenchError> {
    let address = station::free_address()?;
    let port = address.port();
    let settings = format!("--port {port} --bind 127.0.0.1 --appendonly no --dir");
    let mut args: Vec<String> = settings.split(' ').map(str::to_owned).collect();
    args.push(bench.folder.path().display().to_string());
    args.extend(["--save".into(), String::new()]);
    let start = Start {
        name: "redis",
        program: bench.machine.program("redis-server"),
        args,
        env: Vec::new(),
        address,
        ready: agent::Ready::RedisPing {
            address,
            password: None,
        },
        threads: 0,
    };
    Station::start(&bench.machine, bench.folder.path(), start).await
}

/// Starts a node with this many accounts.
pub(crate) async fn start(
    bench: &Bench,
    kind: &Kind,
    redis: SocketAddr,
    accounts: usize,
) -> Result<Station, BenchError> {
    let program = machine::own_program(kind.program)?;
    start_program(bench, kind, program, redis, accounts).await
}

/// The same, with the program of whichever build.
pub(crate) async fn start_program(
    bench: &Bench,
    kind: &Kind,
    program: PathBuf,
    redis: SocketAddr,
    accounts: usize,
) -> Result<Station, BenchError> {
    let address = station::free_address()?;
    let mut args = vec![format!("--listen={address}")];
    // With huge pages memory would grow by 2 MiB or not at all, and what a session takes could not be seen.
    let mut env = vec![("MIMALLOC_ALLOW_THP".to_owned(), "0".to_owned())];
    let redis_url = format!("redis://{redis}");
    let path = if let Some(strategy) = kind.strategy {
        args.extend([
            format!("--strategies={strategy}"),
            format!("--accounts={accounts}"),
            // The cost of a login is not measured.
            "--password-memory-kib=8".into(),
            "--password-iterations=1".into(),
            "--password-workers=1".into(),
            "--threads=1".into(),
            // Longer than any run.
            "--access-token-s=86400".into(),
        ]);
        env.push(("SHOP_PASSWORD".into(), PASSWORD.into()));
        env.push(("SHOP_JWT_KEY".into(), station::random(32)?));
        if kind.redis {
            env.push(("SHOP_REDIS_URL".into(), redis_url));
        }
        "/readyz"
    } else {
        if kind.redis {
            args.push(format!("--redis-url={redis_url}"));
        }
        "/plain"
    };
    let start = Start {
        name: kind.name,
        program,
        args,
        env,
        address,
        ready: station::answers(address, path),
        threads: 1,
    };
    Station::start(&bench.machine, bench.folder.path(), start).await
}

/// Of demo accounts that exist for seconds, on loopback, in a process that keeps nothing.
const PASSWORD: &str = "password of the benchmark";

/// The body of a login.
pub(crate) fn login_body(user: usize) -> String {
    json!({"user": format!("user-{user:06}"), "password": PASSWORD}).to_string()
}

/// What a node is asked, made beforehand.
pub(crate) struct Rings {
    plain: Ring,
    me: Ring,
    cart: Ring,
}

impl Rings {
    /// Logs [`SESSIONS`] users in, asks each question once and looks whether the answers are right.
    pub(crate) async fn prepare(bench: &Bench, station: &Station) -> Result<Self, BenchError> {
        let mut plain = Vec::new();
        let mut me = Vec::new();
        let (mut add, mut remove) = (Vec::new(), Vec::new());
        let mut asker = Asker::open(station).await?;
        for number in 1..=SESSIONS {
            let mut client = Client::default();
            let log_in = client.request("POST", "/login", Some(&login_body(number)));
            asker.ask(&log_in, 200, &mut client, None).await?;
            // The same head as for `/me`: reading it is not the session's work.
            plain.push(client.request("GET", "/plain", None));
            me.push(client.request("GET", "/me", None));
            let user = json!(format!("user-{number:06}"));
            let ask_me = me.last().cloned().unwrap_or_default();
            asker
                .ask(&ask_me, 200, &mut client, Some(("/user", user)))
                .await?;
            let line = json!({"id": "line-1", "sku": "book-1", "quantity": 1});
            let request = client.request("POST", "/cart/lines", Some(&line.to_string()));
            let full = json!([line]);
            asker
                .ask(&request, 201, &mut client, Some(("/lines", full)))
                .await?;
            add.push(request);
            let request = client.request("DELETE", "/cart/lines/line-1", None);
            let empty = json!([]);
            asker
                .ask(&request, 200, &mut client, Some(("/lines", empty)))
                .await?;
            remove.push(request);
        }
        // First all lines come, then all go: the two requests of a session are far from each other.
        add.append(&mut remove);
        let file = |work: &str| bench.file(format!("{}-{work}.lua", station.address.port()));
        Ok(Self {
            plain: Ring::write(file("plain"), plain)?,
            me: Ring::write(file("me"), me)?,
            cart: Ring::write(file("cart"), add)?,
        })
    }

    /// The requests of one work.
    pub(crate) fn of(&self, work: &str) -> &Ring {
        match work {
            PLAIN => &self.plain,
            ME => &self.me,
            _ => &self.cart,
        }
    }
}

/// Asks one station and insists on the right answer.
struct Asker {
    station: &'static str,
    connection: Connection,
}

impl Asker {
    async fn open(station: &Station) -> Result<Self, BenchError> {
        let connection = Connection::open(station.address).await;
        Ok(Self {
            station: station.name,
            connection: connection.map_err(BenchError::of(station.name))?,
        })
    }

    /// The answer must have this status and, where one is given, this value in that part of its body.
    async fn ask(
        &mut self,
        request: &[u8],
        status: u16,
        client: &mut Client,
        part: Option<(&str, serde_json::Value)>,
    ) -> Result<(), BenchError> {
        let answer = self.connection.exchange(request).await;
        let answer = answer.map_err(BenchError::of(self.station))?;
        client.absorb(&answer);
        let body = answer.json();
        let right = |(place, value): &(&str, _)| body.pointer(place) == Some(value);
        if answer.status == status && part.as_ref().is_none_or(right) {
            return Ok(());
        }
        let first = String::from_utf8_lossy(request);
        let first = first.lines().next().unwrap_or_default();
        let what = format!(
            "{first} was answered with {} {body}; expected {status} {part:?}",
            answer.status
        );
        Err(BenchError::Station {
            station: self.station,
            what,
        })
    }
}
