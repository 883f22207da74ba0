//! How each process is started: flags, environment, log, readiness; and the addresses that they get.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use agent::{ProcessSpec, Ready, ports};

use super::{
    BalancerKind, ClusterError, ClusterSpec, LOAD_BALANCER, READY_WITHIN,
    balancer::AdminPort,
    files::{BalancerConfig, Listener, Node},
    haproxy,
    secrets::{self, Secrets},
};

pub(super) fn node_process(
    spec: &ClusterSpec,
    node: &Node,
    program: &Path,
    dir: &Path,
    store_url: Option<String>,
) -> ProcessSpec {
    let mut args = vec![
        format!("--listen={}", node.address),
        format!("--password-file={}", dir.join(secrets::PASSWORD).display()),
        format!("--jwt-key-file={}", dir.join(secrets::JWT_KEY).display()),
        format!(
            "--operator-token-file={}",
            dir.join(secrets::OPERATOR_TOKEN).display()
        ),
    ];
    args.extend(node_flags(spec, &node.name));
    ProcessSpec {
        name: node.name.clone(),
        program: program.to_owned(),
        args,
        env: store_url
            .map(|url| ("SHOP_REDIS_URL".into(), url))
            .into_iter()
            .chain([no_color(), no_huge_pages()])
            .chain(spec.env.iter().cloned())
            .collect(),
        log: Some(dir.join(format!("{}.log", node.name))),
        ready: Ready::Http {
            address: node.address,
            path: "/readyz".into(),
        },
        ready_within: READY_WITHIN,
        quota: spec.quota,
    }
}

/// What the spec says of a node, wherever it runs.
pub(super) fn node_flags(spec: &ClusterSpec, name: &str) -> Vec<String> {
    let mut flags = vec![
        format!("--node-name={name}"),
        format!("--strategies={}", spec.strategies.join(",")),
        format!("--accounts={}", spec.accounts),
        format!("--password-memory-kib={}", spec.password_memory_kib),
        format!("--password-iterations={}", spec.password_iterations),
        format!("--work-us={}", spec.work_us),
        // All users of a load test come from one address, and many of them log in at the same time.
        "--login-attempts-per-address=0".into(),
    ];
    // The last one counts, so these can still set a limit.
    flags.extend_from_slice(&spec.shop_args);
    flags
}

/// The load balancer's configuration: how to start it with that, and where it takes orders.
pub(super) fn front(
    spec: &ClusterSpec,
    admin: SocketAddr,
    nodes: &[Node],
    listeners: &[Listener],
    secrets: &Secrets,
    dir: &Path,
) -> Result<(Vec<String>, AdminPort), ClusterError> {
    match spec.balancer {
        BalancerKind::Pingora => {
            let config = BalancerConfig {
                admin,
                nodes,
                listeners,
                more: &spec.balancer_toml,
            };
            let args = vec![format!("--config={}", config.write(dir)?.display())];
            let token = secrets.admin_token.clone();
            Ok((
                args,
                AdminPort::Http {
                    address: admin,
                    token,
                },
            ))
        }
        BalancerKind::Haproxy => {
            let socket = dir.join("haproxy.sock");
            let config = haproxy::Config {
                admin,
                socket: &socket,
                nodes,
                listeners,
            };
            let config = config.write(dir)?.display().to_string();
            // `-db`: one process, in the foreground.
            let args = vec!["-db".into(), "-f".into(), config];
            Ok((args, AdminPort::Socket { path: socket }))
        }
    }
}

pub(super) fn balancer_process(
    args: Vec<String>,
    admin: SocketAddr,
    program: PathBuf,
    dir: &Path,
) -> ProcessSpec {
    ProcessSpec {
        name: LOAD_BALANCER.into(),
        program,
        args,
        env: vec![no_color()],
        log: Some(dir.join("load-balancer.log")),
        ready: Ready::Http {
            address: admin,
            path: "/healthz".into(),
        },
        ready_within: READY_WITHIN,
        quota: None,
    }
}

/// Logs go into files, and their last lines into errors: no colours.
fn no_color() -> (String, String) {
    ("NO_COLOR".into(), "1".into())
}

pub(super) fn free_address(spec: &ClusterSpec) -> Result<SocketAddr, ClusterError> {
    let ip = spec.ip;
    let port = ports::free(ip).map_err(|source| ClusterError::NoPort { ip, source })?;
    Ok(SocketAddr::new(ip, port))
}

/// Nodes grow by pages of 4 KiB. With transparent huge pages they would grow by 2 MiB or not at all,
/// and what a session takes could not be seen. (Redis does the same for itself.)
fn no_huge_pages() -> (String, String) {
    ("MIMALLOC_ALLOW_THP".into(), "0".into())
}

/// The wanted port if nobody has it, or any where the spec says 0.
pub(super) fn public_address(
    spec: &ClusterSpec,
    strategy: &str,
    port: u16,
) -> Result<SocketAddr, ClusterError> {
    if port == 0 {
        return free_address(spec);
    }
    let address = SocketAddr::new(spec.ip, port);
    match std::net::TcpListener::bind(address) {
        Ok(_) => Ok(address),
        Err(source) => Err(ClusterError::PortTaken {
            strategy: strategy.to_owned(),
            address,
            owner: ports::owner(address),
            source,
        }),
    }
}
