//! Hosts with IPv6: all of a cluster at `::1`; and what `[::]` means on hosts that have both families, one, or the other.
//!
//! Such hosts are network namespaces here. Where the system allows none, or `unshare` or `ip` is missing, the tests that need
//! them say so and pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::fs;
use std::net::Ipv6Addr;
use std::process::{Command, Output};
use std::thread;

use reqwest::{Method, Url};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use serde_json::json;
use tests::direct::{at_node, problem};
use tests::{STRATEGIES, User, binary, cluster_with, send, wait_for_rotation};

#[tokio::test]
async fn sessions_begin_live_and_end_over_ipv6() {
    let cluster = cluster_with(&STRATEGIES, |spec| spec.ip = Ipv6Addr::LOCALHOST.into()).await;
    for (number, strategy) in (1..).zip(STRATEGIES) {
        wait_for_rotation(&cluster, strategy, true).await;
        let ours = cluster.url(strategy);
        assert!(ours.starts_with("http://[::1]:"), "{ours}");
        let mut user = User::logged_in(&cluster, strategy, number).await;
        user.add("a").await.expect(201);
        assert_eq!(user.cart().await.expect(200).lines(), ["a"], "{strategy}");

        // A browser says where its page is from, and in which brackets.
        let remove = |origin: &str| {
            let remove = user.request(Method::DELETE, "/cart/lines/none");
            send(remove.header("origin", origin.to_owned()))
        };
        remove(&ours).await.expect(200);
        let port = Url::parse(&ours).unwrap().port().unwrap();
        for foreign in [format!("http://[::2]:{port}"), "http://[::1]:1".into()] {
            let refused = remove(&foreign).await.expect(403);
            assert_eq!(
                problem(&refused).1,
                "/problems/cross-site-request",
                "{foreign}"
            );
        }

        user.logout().await.expect(204);
        if strategy != "jwt" {
            user.me().await.expect(401);
        }
    }
}

#[tokio::test]
async fn one_client_is_a_network_of_ipv6_however_its_balancer_spells_it() {
    let cluster = cluster_with(&["sticky"], |spec| {
        spec.nodes = 1;
        spec.ip = Ipv6Addr::LOCALHOST.into();
        let limits = [
            "--login-attempts-per-address=2",
            "--login-address-refill-s=3600",
        ];
        spec.shop_args.extend(limits.map(Into::into));
    })
    .await;
    for (number, (client, status)) in [
        ("2001:db8::1", 401),
        ("2001:db8::2", 401),
        // Whoever has one address of a /64 has all of them.
        ("2001:db8:0:0:ffff::3", 429),
        ("2001:db8:0:1::1", 401),
        ("192.0.2.1", 401),
        ("::ffff:192.0.2.1", 401),
        ("::ffff:c000:201", 429),
        ("192.0.2.2", 401),
    ]
    .into_iter()
    .enumerate()
    {
        // Of another account each time, so that only the address counts.
        let wish = json!({"user": format!("user-{number:06}"), "password": "wrong"});
        let login = at_node(&cluster, "node-1", "sticky", Method::POST, "/login").json(&wish);
        let answer = send(login.header("x-forwarded-for", client)).await;
        assert_eq!(answer.status, status, "{client}: {}", answer.body);
    }
}

/// What runs on a host: a node, its agent with a link to it, and a load balancer. Each listens at `[::]`, and each must be
/// reached in every way that the host has.
const PROGRAMS: &str = r#"
ip link set lo up
eval "$SETUP"
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
"$BIN/agent" run --name node --control "$CONTROL:7070" --token-file "$DIR/agent.token" --ready "http://$HERE:8080/healthz" \
    --link "way=$CONTROL:9000=$HERE:8080" -- "$BIN/shop" --listen "[::]:8080" --public-url http://localhost:8080 \
    --strategies sticky --password-file "$DIR/password" >"$DIR/node.log" 2>&1 &
"$BIN/load-balancer" --config "$DIR/load-balancer.toml" >"$DIR/load-balancer.log" 2>&1 &
until_true() {
    tries=0
    until "$@" 2>"$DIR/probe.log"; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ] || [ "$(jobs -r | wc -l)" -lt 2 ]; then
            cat "$DIR"/*.log
            exit 1
        fi
        sleep 0.1
    done
}
until_true grep -q "ready addresses" "$DIR/load-balancer.log"
for way in $WAYS; do
    for place in 8080/healthz 7070/healthz 9000/healthz 8081/plain; do
        until_true "$BIN/agent" probe "http://$way:$place"
    done
done
cat "$DIR/node.log" "$DIR/load-balancer.log"
"#;

/// A host.
struct Host {
    /// What makes it from one with both families.
    setup: &'static str,
    /// Its loopback address, in a URL.
    here: &'static str,
    /// All of them.
    ways: &'static str,
    /// Where agents listen.
    control: &'static str,
    /// The load balancer's nodes.
    nodes: &'static str,
}

const BOTH: Host = Host {
    setup: "",
    here: "127.0.0.1",
    ways: "127.0.0.1 [::1]",
    control: "[::]",
    nodes: "list = [ { name = 'node', address = '127.0.0.1:8080' } ]",
};

impl Host {
    /// Runs the programs there; what they wrote. `None` where no such host can be made.
    fn run(&self) -> Option<String> {
        if !can_unshare() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("host");
        let made = Command::new(binary("lab"))
            .arg("secrets")
            .arg(&dir)
            .output();
        assert!(made.unwrap().status.success());
        let config = format!(
            "affinity_key_file = '{}'\n[nodes]\n{}\n[[listeners]]\nstrategy = 'sticky'\naddress = '[::]:8081'\n",
            dir.join("affinity.key").display(),
            self.nodes
        );
        fs::write(dir.join("load-balancer.toml"), config).unwrap();
        fs::write(
            dir.join("hosts"),
            "127.0.0.1 node localhost\n::1 node localhost\n",
        )
        .unwrap();
        let output = namespace(PROGRAMS)
            .env("SETUP", self.setup)
            .env("HERE", self.here)
            .env("WAYS", self.ways)
            .env("CONTROL", self.control)
            .env("DIR", &dir)
            .env("BIN", binary("agent").parent().unwrap())
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        Some(said)
    }
}

/// A shell in a network of its own, where it may do everything.
fn namespace(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--map-root-user",
        "--net",
        "--mount",
        "bash",
        "-euc",
        script,
    ]);
    command
}

fn said(output: &Output) -> String {
    let all = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}

fn can_unshare() -> bool {
    let tried = namespace("ip link set lo up").output();
    let lacking = match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => said(&output),
        Err(error) => error.to_string(),
    };
    println!("SKIPPED: no network namespace can be made here: {lacking}");
    false
}

#[test]
fn all_addresses_are_both_families_whatever_the_system_prefers() {
    let setup = "echo 1 >/proc/sys/net/ipv6/bindv6only";
    Host { setup, ..BOTH }.run();
}

#[test]
fn a_host_that_has_ipv6_switched_off_is_served_over_ipv4() {
    Host {
        setup: "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6",
        ways: "127.0.0.1",
        ..BOTH
    }
    .run();
}

#[test]
fn a_host_without_any_address_of_ipv4_is_served_over_ipv6() {
    Host {
        setup: "ip address del 127.0.0.1/8 dev lo",
        here: "[::1]",
        ways: "[::1]",
        nodes: "list = [ { name = 'node', address = '[::1]:8080' } ]",
        ..BOTH
    }
    .run();
}

#[test]
fn a_kernel_without_ipv6_is_served_over_ipv4_and_told() {
    let host = Host {
        ways: "127.0.0.1",
        ..BOTH
    };
    // Inherited by what this thread starts, and by nothing else.
    let run = thread::spawn(move || {
        apply_filter(&no_ipv6_sockets()).unwrap();
        host.run()
    });
    if let Some(said) = run.join().unwrap() {
        let told = said.matches("this machine has no IPv6").count();
        // The node, the control port, the link, the load balancer: each once.
        assert_eq!(told, 4, "{said}");
    }
}

/// As with the kernel's option `ipv6.disable=1`: "Address family not supported by protocol".
fn no_ipv6_sockets() -> BpfProgram {
    let family = u64::from(rustix::net::AddressFamily::INET6.as_raw());
    let is_ipv6 = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family);
    let rule = SeccompRule::new(vec![is_ipv6.unwrap()]).unwrap();
    let refusal = u32::try_from(rustix::io::Errno::AFNOSUPPORT.raw_os_error()).unwrap();
    let filter = SeccompFilter::new(
        [(SOCKET, vec![rule])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(refusal),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    filter.unwrap().try_into().unwrap()
}

/// The number of the system call `socket`.
const SOCKET: i64 = if cfg!(target_arch = "x86_64") {
    41
} else {
    198
};

#[test]
fn a_name_with_addresses_of_both_families_is_one_node_and_one_agent() {
    let host = Host {
        setup: r#"mount --bind "$DIR/hosts" /etc/hosts"#,
        // By its name, the port is at both addresses.
        control: "node",
        nodes: "dns = 'node:8080'",
        ..BOTH
    };
    host.run();
    // Nobody is at port 1, and the balancer says so of each node before it is ready.
    let nowhere = Host {
        nodes: "dns = 'node:1'",
        ways: "",
        ..host
    };
    if let Some(said) = nowhere.run() {
        assert_eq!(said.matches("node is down").count(), 1, "{said}");
    }
}
