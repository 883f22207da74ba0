//! `GET /metrics`: what the node counted, for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;

use crate::metrics::page;
use crate::node::Node;

pub(super) async fn metrics(State(node): State<Arc<Node>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], page(&node))
}

#[cfg(test)]
mod tests {
    use crate::testing::{PASSWORD, Shop, head};

    #[tokio::test]
    async fn it_tells_what_was_asked_of_whom() {
        let shop = Shop::of(&["sticky", "jwt"]);
        for strategy in ["sticky", "sticky", "jwt", "paper"] {
            shop.send(head("GET", "/plain").header("x-session-strategy", strategy))
                .await;
        }
        let login = serde_json::json!({"user": "user-000001", "password": PASSWORD});
        let request = head("POST", "/login").header("x-session-strategy", "sticky");
        shop.send_json(request, &login).await;
        shop.ask("GET", "/nowhere").await;

        let answer = shop.ask("GET", "/metrics").await;
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; version=0.0.4")
        );
        for line in [
            r#"shop_requests_total{strategy="sticky",endpoint="plain",status="200"} 2"#,
            r#"shop_requests_total{strategy="jwt",endpoint="plain",status="200"} 1"#,
            r#"shop_requests_total{strategy="none",endpoint="plain",status="421"} 1"#,
            r#"shop_requests_total{strategy="sticky",endpoint="login",status="200"} 1"#,
            r#"shop_requests_total{strategy="none",endpoint="not-found",status="404"} 1"#,
            r#"shop_request_duration_seconds_count{strategy="sticky",endpoint="plain"} 2"#,
            r#"shop_request_duration_seconds_bucket{strategy="sticky",endpoint="plain",le="+Inf"} 2"#,
            r#"shop_sessions_owned{strategy="sticky"} 1"#,
            "shop_password_checks_running 0",
            "shop_password_checks_waiting 0",
            "shop_draining 0",
        ] {
            assert!(
                answer.text().lines().any(|told| told == line),
                "{line} is missing in\n{}",
                answer.text()
            );
        }
    }

    #[tokio::test]
    async fn buckets_add_up() {
        let shop = Shop::sticky();
        for _ in 0..20 {
            shop.ask("GET", "/plain").await;
        }
        let page = shop.ask("GET", "/metrics").await;
        let counts: Vec<u64> = page
            .text()
            .lines()
            .filter(|line| line.contains("_bucket{strategy=\"sticky\",endpoint=\"plain\""))
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(counts.is_sorted(), "{counts:?}");
        assert_eq!(counts.last(), Some(&20));
    }
}
