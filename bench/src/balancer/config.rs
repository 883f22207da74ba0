//! The balancers' configurations, side by side, and the back-ends. All balancers write no access log, keep connections
//! open on both sides, add `X-Forwarded-For` where they can, and run with the number of threads that is asked for.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{BARE, HAPROXY, NGINX};
use crate::error::BenchError;
use crate::machine;
use crate::slice::Bench;
use crate::station::{self, Start, Station};

/// How many files nginx and HAProxy may open: two ends for each of 10,000 connections would be 20,000, but few requests
/// run at the same time.
const CONNECTIONS: usize = 10_500;

/// Three cheap servers: one nginx process on three ports, so that the back-ends need as little of the other core as
/// they can.
pub(super) struct Backends {
    addresses: [SocketAddr; 3],
    _process: Station,
}

impl Backends {
    pub(super) async fn start(bench: &Bench) -> Result<Self, BenchError> {
        let addresses = [
            station::free_address()?,
            station::free_address()?,
            station::free_address()?,
        ];
        let servers: String = addresses
            .iter()
            .enumerate()
            .map(|(number, address)| backend(number + 1, *address))
            .collect();
        let config = nginx(bench, 1, "backends", &servers);
        let start = Start {
            threads: 0,
            ..nginx_process(bench, "back-ends", "backends", &config, addresses[0])?
        };
        Ok(Self {
            addresses,
            _process: Station::start(&bench.machine, bench.folder.path(), start).await?,
        })
    }

    /// One text a back-end, from its number and its address.
    fn map(&self, form: impl Fn(usize, SocketAddr) -> String) -> String {
        let addresses = self.addresses.iter().enumerate();
        addresses
            .map(|(number, address)| form(number + 1, *address))
            .collect()
    }
}

/// What a balancer is started with.
pub(super) fn balancer(
    bench: &Bench,
    backends: &Backends,
    name: &'static str,
    threads: usize,
) -> Result<Start, BenchError> {
    let address = station::free_address()?;
    match name {
        HAPROXY => haproxy(bench, backends, address, threads),
        NGINX => {
            let folder = format!("nginx-{threads}");
            let config = nginx(bench, threads, &folder, &nginx_balancer(backends, address));
            let start = nginx_process(bench, NGINX, &folder, &config, address)?;
            Ok(Start { threads, ..start })
        }
        BARE => bare_pingora(backends, address, threads),
        _ => {
            let program = machine::own_program("load-balancer")?;
            ours(bench, backends, name, program, threads)
        }
    }
}

/// Ours, of whichever build: affinity by its own cookie, health checks, retries and metrics as they are by default.
pub(super) fn ours(
    bench: &Bench,
    backends: &Backends,
    name: &'static str,
    program: PathBuf,
    threads: usize,
) -> Result<Start, BenchError> {
    let address = station::free_address()?;
    let nodes = backends
        .map(|number, node| format!("{{ name = \"node-{number}\", address = \"{node}\" }},\n"));
    let config = format!(
        "threads = {threads}\n\
         [nodes]\nlist = [\n{nodes}]\n\
         [[listeners]]\nstrategy = \"sticky\"\naddress = \"{address}\"\naffinity = true\n"
    );
    let file = format!("load-balancer-{}.toml", address.port());
    let file = station::write(bench.file(file), &config)?;
    Ok(Start {
        name,
        program,
        args: vec![format!("--config={}", file.display())],
        env: vec![("LOAD_BALANCER_AFFINITY_KEY".into(), station::random(32)?)],
        address,
        ready: station::answers(address, "/plain"),
        threads,
    })
}

/// HAProxy: affinity by an inserted cookie, health checks as often as ours.
fn haproxy(
    bench: &Bench,
    backends: &Backends,
    address: SocketAddr,
    threads: usize,
) -> Result<Start, BenchError> {
    let servers = backends.map(|number, node| {
        format!("  server node-{number} {node} cookie node-{number} check inter 500ms\n")
    });
    let config = format!(
        "global\n  nbthread {threads}\n  maxconn {CONNECTIONS}\n  no strict-limits\n\
         defaults\n  mode http\n  timeout connect 500ms\n  timeout client 60s\n  timeout server 5s\n  \
         timeout http-keep-alive 300s\n  option forwardfor\n  option httpchk GET /readyz\n\
         frontend public\n  bind {address}\n  default_backend nodes\n\
         backend nodes\n  balance roundrobin\n  cookie NODE insert indirect nocache httponly\n{servers}"
    );
    let file = station::write(bench.file(format!("haproxy-{threads}.cfg")), &config)?;
    Ok(Start {
        name: HAPROXY,
        program: bench.machine.program("haproxy"),
        args: vec!["-db".into(), "-f".into(), file.display().to_string()],
        env: Vec::new(),
        address,
        ready: station::answers(address, "/plain"),
        threads,
    })
}

/// nginx: a consistent hash of the client's session cookie, because its own sticky cookies are not in the free version.
fn nginx_balancer(backends: &Backends, address: SocketAddr) -> String {
    let servers = backends.map(|_, node| format!("    server {node};\n"));
    format!(
        "  upstream nodes {{\n    hash $cookie_session consistent;\n{servers}    keepalive 1024;\n    \
         keepalive_requests 1000000000;\n  }}\n  \
         server {{\n    listen {address} backlog=4096;\n    location / {{\n      proxy_pass http://nodes;\n      \
         proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      proxy_set_header Host $host;\n      \
         proxy_set_header X-Forwarded-For $remote_addr;\n    }}\n  }}\n"
    )
}

/// A back-end answers everything with the body that a node's `GET /me` has. The answer to a login says that a session
/// starts, as a node's does: that is when our balancer pins a client.
fn backend(number: usize, address: SocketAddr) -> String {
    let answer = format!(
        "add_header X-Node node-{number};\n      \
         return 200 '{{\"user\":\"user-000001\",\"strategy\":\"sticky\",\"node\":\"node-{number}\",\
         \"issued_at\":1790000000,\"expires_at\":1790043200}}';"
    );
    format!(
        "  server {{\n    listen {address} backlog=4096;\n    \
         location = /login {{\n      add_header X-Session-Event started;\n      {answer}\n    }}\n    \
         location / {{\n      {answer}\n    }}\n  }}\n"
    )
}

/// Its workers end with the master and the master with us, except when we are killed with SIGKILL: nginx's workers do not
/// notice that their master is gone.
fn nginx(bench: &Bench, workers: usize, folder: &str, servers: &str) -> String {
    let folder = bench.file(folder).display().to_string();
    // Started by root, the workers would be another user's and could not enter our folder.
    let user = if rustix::process::getuid().is_root() {
        "user root;\n"
    } else {
        ""
    };
    format!(
        "{user}worker_processes {workers};\nworker_rlimit_nofile {files};\ndaemon off;\npid {folder}/pid;\n\
         events {{\n  worker_connections {CONNECTIONS};\n}}\n\
         http {{\n  access_log off;\n  default_type application/json;\n  keepalive_timeout 300s;\n  \
         keepalive_requests 1000000000;\n  client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  \
         fastcgi_temp_path {folder}/fastcgi;\n  uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n\
         {servers}}}\n",
        files = CONNECTIONS + 1000,
    )
}

fn nginx_process(
    bench: &Bench,
    name: &'static str,
    folder: &str,
    config: &str,
    address: SocketAddr,
) -> Result<Start, BenchError> {
    let folder = bench.file(folder);
    std::fs::create_dir_all(&folder).map_err(|source| BenchError::File {
        path: folder.clone(),
        source,
    })?;
    let file = station::write(folder.join("nginx.conf"), config)?;
    let flags = ["-e", "stderr", "-p"].map(str::to_owned);
    let paths = [
        folder.display().to_string(),
        "-c".into(),
        file.display().to_string(),
    ];
    Ok(Start {
        name,
        program: bench.machine.program("nginx"),
        args: flags.into_iter().chain(paths).collect(),
        env: Vec::new(),
        address,
        ready: station::answers(address, "/plain"),
        threads: 1,
    })
}

fn bare_pingora(
    backends: &Backends,
    address: SocketAddr,
    threads: usize,
) -> Result<Start, BenchError> {
    let nodes = backends.addresses.map(|address| address.to_string());
    Ok(Start {
        name: BARE,
        program: machine::own_program("bare_pingora")?,
        args: vec![
            format!("--listen={address}"),
            format!("--threads={threads}"),
            format!("--backends={}", nodes.join(",")),
        ],
        env: Vec::new(),
        address,
        ready: station::answers(address, "/plain"),
        threads,
    })
}
