//! The smallest load balancer that pingora makes: round robin, no affinity, no health checks, no time limits, no
//! metrics. What our balancer does beyond it shows in the difference. Same allocator and same thread settings as ours.

use std::net::SocketAddr;

use async_trait::async_trait;
use clap::Parser;
use pingora::lb::LoadBalancer;
use pingora::lb::selection::RoundRobin;
use pingora::prelude::{Error, HttpPeer, Result};
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    threads: usize,
    #[arg(long, value_delimiter = ',')]
    backends: Vec<SocketAddr>,
}

struct Bare(LoadBalancer<RoundRobin>);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        let backend = self.0.select(b"", 256);
        let backend = backend.ok_or_else(|| Error::new_str("no back-end"))?;
        Ok(Box::new(HttpPeer::new(backend, false, String::new())))
    }
}

fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let conf = ServerConf {
        threads: args.threads,
        work_stealing: false,
        upstream_keepalive_pool_size: 1024,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let backends = LoadBalancer::try_from_iter(args.backends)?;
    let mut service = http_proxy_service(&server.configuration, Bare(backends));
    service.add_tcp(&args.listen.to_string());
    server.add_service(service);
    server.run_forever()
}
