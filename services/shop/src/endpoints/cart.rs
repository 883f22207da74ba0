//! The cart: `GET /cart`, `POST /cart/lines` `{id, sku, quantity}`, `DELETE /cart/lines/{id}`. Each answers with the cart.
//!
//! The client chooses a line's id, and the same change twice changes nothing: a request whose answer was lost
//! can simply be sent again. Where the client carries the cart, the answer to a change hands it the new cart token
//! by the way that its credential came.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use session::{Change, Line};

use crate::credentials::Presented;
use crate::input::{Identifier, Json, MAX_IDENTIFIER_BYTES, PathId, Quantity};
use crate::node::Served;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewLine {
    id: Identifier,
    sku: Identifier,
    quantity: Quantity,
}

pub(super) async fn read(
    State(served): State<Served>,
    presented: Presented,
) -> Result<Response, Problem> {
    let cart = served.strategy().cart(&presented.credential).await?;
    presented.respond(&served, cart)
}

pub(super) async fn add(
    State(served): State<Served>,
    presented: Presented,
    Json(line): Json<NewLine>,
) -> Result<Response, Problem> {
    let line = Line {
        id: line.id.0,
        sku: line.sku.0,
        quantity: line.quantity.0,
    };
    change(&served, &presented, Change::Add(line), StatusCode::CREATED).await
}

pub(super) async fn remove(
    State(served): State<Served>,
    presented: Presented,
    PathId(id): PathId<MAX_IDENTIFIER_BYTES>,
) -> Result<Response, Problem> {
    change(&served, &presented, Change::Remove(id), StatusCode::OK).await
}

async fn change(
    served: &Served,
    presented: &Presented,
    change: Change,
    success: StatusCode,
) -> Result<Response, Problem> {
    let strategy = served.strategy();
    let changed = strategy.change(&presented.credential, change).await?;
    let mut response = presented.respond(served, changed)?;
    *response.status_mut() = success;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, COOKIE};
    use serde_json::json;

    use crate::testing::{PASSWORD, Shop, head, problem};

    #[tokio::test]
    async fn lines_come_and_go() {
        let shop = Shop::sticky();
        let cookie = shop.log_in("user-000001").await;
        let added = shop.add_line(&cookie, "a").await;
        let cart = json!({"version": 1, "lines": [{"id": "a", "sku": "book", "quantity": 1}]});
        assert_eq!((added.status, added.json()), (201, cart.clone()));
        let again = shop.add_line(&cookie, "a").await;
        assert_eq!((again.status, again.json()), (201, cart.clone()));
        let read = shop
            .send(head("GET", "/cart").header(COOKIE, &cookie))
            .await;
        assert_eq!((read.status, read.json()), (200, cart));
        for _ in 0..2 {
            let request = head("DELETE", "/cart/lines/a").header(COOKIE, &cookie);
            let removed = shop.send(request).await;
            assert_eq!(
                (removed.status, removed.json()),
                (200, json!({"version": 2, "lines": []}))
            );
        }
    }

    #[tokio::test]
    async fn wrong_lines_are_refused() {
        let shop = Shop::sticky();
        let cookie = shop.log_in("user-000001").await;
        for line in [
            json!({"id": "a", "sku": "book", "quantity": 0}),
            json!({"id": "a", "sku": "book", "quantity": 1000}),
            json!({"id": "a b", "sku": "book", "quantity": 1}),
            json!({"id": "a", "sku": "x".repeat(65), "quantity": 1}),
            json!({"id": "a", "sku": "book", "quantity": 1, "price": 0}),
        ] {
            let request = head("POST", "/cart/lines").header(COOKIE, &cookie);
            let answer = shop.send_json(request, &line).await;
            assert_eq!(problem(&answer), (422, "/problems/invalid-input"), "{line}");
        }
        for id in ["a%20b", "%ff", &"x".repeat(65)] {
            let path = format!("/cart/lines/{id}");
            let answer = shop
                .send(head("DELETE", &path).header(COOKIE, &cookie))
                .await;
            assert_eq!(problem(&answer), (422, "/problems/invalid-input"), "{id}");
        }
    }

    #[tokio::test]
    async fn a_cart_has_a_bound() {
        let shop = Shop::sticky();
        let cookie = shop.log_in("user-000001").await;
        for id in 0..Shop::MAX_LINES {
            assert_eq!(shop.add_line(&cookie, &id.to_string()).await.status, 201);
        }
        let answer = shop.add_line(&cookie, "one-more").await;
        assert_eq!(problem(&answer), (409, "/problems/cart-full"));
    }

    #[tokio::test]
    async fn a_bearer_carries_the_cart_in_a_header_until_it_is_too_large() {
        let shop = Shop::jwt();
        let bearer = shop.log_in_as_bearer("user-000001").await;
        let mut cart_token = None;
        let refused = loop {
            let lines = cart_token.iter().len();
            let mut request = head("POST", "/cart/lines").header(AUTHORIZATION, &bearer);
            if let Some(token) = &cart_token {
                request = request.header("x-cart", token);
            }
            let id = format!("{:060}", rand_like(lines, cart_token.as_ref()));
            let line = json!({"id": id, "sku": "book", "quantity": 1});
            let answer = shop.send_json(request, &line).await;
            if answer.status != 201 {
                break answer;
            }
            assert_eq!(answer.header("set-cookie"), None);
            cart_token = Some(answer.header("x-cart").unwrap().to_owned());
        };
        assert_eq!(problem(&refused), (413, "/problems/cart-too-large"));
        assert_eq!(refused.header("x-cart"), None);
        let read = head("GET", "/cart")
            .header(AUTHORIZATION, &bearer)
            .header("x-cart", cart_token.unwrap());
        let read = shop.send(read).await;
        assert_eq!(read.status, 200, "the cart before is still valid");
        assert!(read.json()["version"].as_u64().unwrap() > 10);
    }

    /// A number that differs for each cart.
    fn rand_like(lines: usize, cart_token: Option<&String>) -> usize {
        lines + cart_token.map_or(0, String::len)
    }

    #[tokio::test]
    async fn a_browser_carries_the_cart_in_a_cookie() {
        let shop = Shop::jwt();
        let login = json!({"user": "user-000001", "password": PASSWORD, "transport": "cookie"});
        let answer = shop.send_json(head("POST", "/login"), &login).await;
        let mut cookies = answer.cookies();
        let added = shop.add_line(&cookies.join("; "), "a").await;
        assert_eq!(added.header("x-cart"), None);
        cookies.extend(added.cookies());
        assert!(cookies[1].starts_with("jwt-cart="), "{cookies:?}");
        let read = head("GET", "/cart").header(COOKIE, cookies.join("; "));
        assert_eq!(shop.send(read).await.json()["lines"][0]["id"], "a");
    }

    #[tokio::test]
    async fn a_cart_token_of_another_user_is_refused() {
        let shop = Shop::jwt();
        let one = shop.log_in_as_bearer("user-000001").await;
        let other = shop.log_in_as_bearer("user-000002").await;
        let request = head("POST", "/cart/lines").header(AUTHORIZATION, &one);
        let line = json!({"id": "a", "sku": "book", "quantity": 1});
        let cart = shop
            .send_json(request, &line)
            .await
            .header("x-cart")
            .unwrap()
            .to_owned();
        for (bearer, cart) in [(&other, cart.as_str()), (&one, "garbage")] {
            let request = head("GET", "/cart").header(AUTHORIZATION, bearer);
            let answer = shop.send(request.header("x-cart", cart)).await;
            assert_eq!(problem(&answer), (400, "/problems/cart-not-valid"));
        }
    }
}
