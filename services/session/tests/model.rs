//! Carts and parsers against all that a generator can think of: whatever the sequence of changes, every strategy shows
//! the cart that the simplest possible model shows; whatever the text, no parser panics and nobody is logged in.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test reports, in its helpers too"
)]

mod support;

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::strategy::Strategy as Generator;
use session::{Change, Error, Line, Strategy};
use tokio::runtime::Runtime;

use support::{CART, Client, Lab, credential_of};

/// A cart as a list of lines and a counter: what `GET /cart` should show.
#[derive(Default)]
struct Model {
    version: u64,
    lines: Vec<Line>,
}

impl Model {
    fn apply(&mut self, change: &Change) {
        let position = |id: &str| self.lines.iter().position(|line| line.id == id);
        match change {
            Change::Add(line) if position(&line.id).is_none() => self.lines.push(line.clone()),
            Change::Remove(id) if position(id).is_some() => {
                let at = position(id).unwrap();
                self.lines.remove(at);
            }
            _ => return,
        }
        self.version += 1;
    }
}

/// Few ids, so that changes meet; any text in the others, blanks and line ends included.
fn change() -> impl Generator<Value = Change> {
    let id = prop_oneof!["[a-e]", "user|issued|expires|version", "\\PC{1,8}"];
    let line = (id.clone(), "\\PC{0,12}", 1..1000_u16);
    prop_oneof![
        3 => line.prop_map(|(id, sku, quantity)| Change::Add(Line { id, sku, quantity })),
        1 => id.prop_map(Change::Remove),
    ]
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Runs sequences of changes through two nodes in turn where the strategy allows it.
fn carts_agree_with_the_model(lab: impl Future<Output = Lab>, cases: u32) {
    let runtime = Runtime::new().unwrap();
    let lab = runtime.block_on(lab);
    let nodes = if lab.a.about().needs_affinity {
        [&lab.a, &lab.a]
    } else {
        [&lab.a, &lab.b]
    };
    let mut runner = proptest::test_runner::TestRunner::new(config(cases));
    let sequences = proptest::collection::vec(change(), 0..40);
    let outcome = runner.run(&sequences, |changes| {
        runtime.block_on(async {
            let mut client = Client::login(&*lab.a, "alice").await;
            let mut model = Model::default();
            for (number, change) in changes.into_iter().enumerate() {
                model.apply(&change);
                let cart = client.change(&**nodes[number % 2], change).await.unwrap();
                prop_assert_eq!(cart.version, model.version);
                prop_assert_eq!(&cart.lines, &model.lines);
            }
            let cart = lab.a.cart(&client.credential).await.unwrap().value;
            prop_assert_eq!((cart.version, cart.lines), (model.version, model.lines));
            lab.a.logout(&client.credential).await.unwrap();
            Ok(())
        })
    });
    outcome.unwrap();
}

#[test]
fn carts_of_sticky_agree_with_the_model() {
    carts_agree_with_the_model(async { Lab::sticky() }, 200);
}

#[test]
fn carts_of_redis_agree_with_the_model() {
    carts_agree_with_the_model(async { Lab::redis().ready().await }, 60);
}

#[test]
fn carts_of_jwt_agree_with_the_model() {
    carts_agree_with_the_model(async { Lab::jwt() }, 100);
}

/// Text of any kind, and text that looks much like a credential.
fn nearly_a_credential() -> impl Generator<Value = String> {
    prop_oneof![
        any::<String>(),
        "[A-Za-z0-9_-]{22}",
        "[A-Za-z0-9_-]{22}\\.[A-Za-z0-9_-]{22}",
        "[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{43}",
        // The header of an access token, then anything.
        "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJIUzI1NiJ9\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{43}",
    ]
}

fn nobody_is_logged_in(lab: impl Future<Output = Lab>, cases: u32) {
    let runtime = Runtime::new().unwrap();
    let lab = runtime.block_on(lab);
    let mut runner = proptest::test_runner::TestRunner::new(config(cases));
    let texts = (nearly_a_credential(), proptest::option::of(any::<String>()));
    let outcome = runner.run(&texts, |(token, cart)| {
        runtime.block_on(async {
            let node: &dyn Strategy = &*lab.a;
            let credential = credential_of(&token, cart.as_deref());
            let refused = node.authenticate(&credential).await;
            let is_refused = matches!(refused, Err(Error::NotLoggedIn { .. }));
            prop_assert!(is_refused);
            let refused = node.cart(&credential).await;
            let is_refused = matches!(refused, Err(Error::NotLoggedIn { .. }));
            prop_assert!(is_refused);
            node.logout(&credential).await.unwrap();
            Ok(())
        })
    });
    outcome.unwrap();
}

#[test]
fn no_text_is_a_session_of_sticky() {
    nobody_is_logged_in(async { Lab::sticky() }, 2000);
}

#[test]
fn no_text_is_a_session_of_redis() {
    nobody_is_logged_in(async { Lab::redis().ready().await }, 500);
}

#[test]
fn no_text_is_a_session_of_jwt() {
    nobody_is_logged_in(async { Lab::jwt() }, 2000);
}

#[test]
fn no_text_is_a_cart_of_jwt() {
    let runtime = Runtime::new().unwrap();
    let lab = Lab::jwt();
    let client = runtime.block_on(Client::login(&*lab.a, "alice"));
    let mut runner = proptest::test_runner::TestRunner::new(config(1000));
    let outcome = runner.run(&nearly_a_credential(), |cart| {
        let credential = client.credential.clone().with(CART, cart);
        let refused = runtime.block_on(lab.a.cart(&credential));
        let is_refused = matches!(refused, Err(Error::CartNotValid { .. }));
        prop_assert!(is_refused);
        Ok(())
    });
    outcome.unwrap();
}
