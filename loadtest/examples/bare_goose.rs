#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
use goose::prelude::*; use goose::config::GooseConfiguration; use std::sync::Arc;
fn main() {
    let token = std::env::var("TOK").unwrap(); let users: usize = std::env::var("USERS").unwrap().parse().unwrap();
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    rt.block_on(async move {
        let mut c = GooseConfiguration::default();
        c.host = Some("http://127.0.0.1:18083".into()); c.users = Some(users); c.increase_rate=Some((users*20).to_string());
        c.run_time = Some("5".into()); c.quiet=1; c.no_telnet=true; c.no_reset_metrics=true; c.no_transaction_metrics=true; c.no_scenario_metrics=true; c.no_status_codes=true; c.no_error_summary=true; c.no_print_metrics=true;
        let auth = format!("Bearer {token}");
        let f: goose::goose::TransactionFunction = Arc::new(move |u: &mut GooseUser| { let auth = auth.clone(); Box::pin(async move {
            let b = u.get_request_builder(&GooseMethod::Get, "/me")?.header("authorization", auth);
            let g = u.request(GooseRequest::builder().name("browse").set_request_builder(b).build()).await?;
            if let Ok(r) = g.response { let _ = r.bytes().await; }
            Ok(()) }) });
        let m = GooseAttack::initialize_with_config(c).unwrap().register_scenario(Scenario::new("u").register_transaction(Transaction::new(f))).execute().await.unwrap();
        let n: usize = m.requests.values().map(|r| r.success_count + r.fail_count).sum();
        println!("{n}");
    });
}
