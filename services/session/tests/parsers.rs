//! Whatever a client sends as a credential: no strategy panics, accepts it, or loses a letter of what it wrote itself.
//! (The credential of `redis` is read by `redis/names.rs`, which has its properties beside it.)
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test reports, in its helpers too"
)]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use session::{Credential, Error};
use tokio::runtime::Runtime;

use support::{CART, Client, Lab, add, credential_of};

/// Strategies that need no store, within a runtime of their own.
fn labs() -> (Runtime, [Lab; 2]) {
    let runtime = Runtime::new().unwrap();
    let labs = {
        let _inside = runtime.enter();
        [Lab::sticky(), Lab::jwt()]
    };
    (runtime, labs)
}

/// Texts that come near to a credential, and those that do not.
fn credential() -> impl Strategy<Value = String> {
    let part =
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
    let json =
        "\\{\"(alg|typ|sub|exp|iss)\":(\"[ -~]{0,20}\"|-?[0-9]{1,30}|null|\\[\\[\\[\\[)[,}]{0,2}"
            .prop_map(|text| URL_SAFE_NO_PAD.encode(text));
    let token =
        prop::collection::vec(prop_oneof![part, json], 0..5).prop_map(|parts| parts.join("."));
    prop_oneof![token, "\\PC{0,100}", "[A-Za-z0-9_-]{20,24}", "[.]{0,6000}"]
}

async fn is_refused(strategy: &dyn session::Strategy, credential: &Credential) -> bool {
    let is_nobody = matches!(
        strategy.authenticate(credential).await,
        Err(Error::NotLoggedIn { .. })
    );
    is_nobody
        && strategy.cart(credential).await.is_err()
        && strategy.change(credential, add("a")).await.is_err()
}

/// `text` with another letter at `at`, counted in letters and around the end.
fn changed(text: &str, at: usize, with: char) -> String {
    let at = at % text.chars().count();
    let letters = text.chars().enumerate();
    letters
        .map(|(index, old)| if index == at { with } else { old })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_nobody_was_given_is_nobodys_login(token in credential(), cart in prop::option::of(credential())) {
        let (runtime, labs) = labs();
        for lab in &labs {
            let credential = credential_of(&token, cart.as_deref());
            prop_assert!(runtime.block_on(is_refused(&*lab.a, &credential)));
            // Ending what is not there succeeds, and harms nobody.
            prop_assert!(runtime.block_on(lab.a.logout(&credential)).is_ok());
        }
    }

    #[test]
    fn any_cart_token_but_ones_own_is_refused(cart in credential()) {
        let (runtime, [_, jwt]) = labs();
        runtime.block_on(async {
            let mut client = Client::login(&*jwt.a, "alice").await;
            client.credential = client.credential.with(CART, cart);
            let refused = jwt.a.cart(&client.credential).await;
            let is_refused = matches!(refused, Err(Error::CartNotValid { .. }));
            prop_assert!(is_refused);
            Ok(())
        })?;
    }

    #[test]
    fn a_credential_that_was_changed_is_refused(
        at in any::<usize>(),
        with in prop_oneof!["[A-Za-z0-9._-]".prop_map(|s| s.chars().next().unwrap_or('A')), any::<char>()],
        cut in 1_usize..60,
        more in "[A-Za-z0-9._-]{1,40}",
    ) {
        let (runtime, labs) = labs();
        for lab in &labs {
            runtime.block_on(async {
                let mut client = Client::login(&*lab.a, "alice").await;
                client.change(&*lab.a, add("a")).await.unwrap();
                let good = client.credential.clone();
                let token = good.token().to_owned();
                let shorter = token[..token.len().saturating_sub(cut)].to_owned();
                for bad in [changed(&token, at, with), shorter, format!("{token}{more}"), format!("{more}{token}")] {
                    if bad != token {
                        let bad = credential_of(&bad, good.part(CART));
                        prop_assert!(is_refused(&*lab.a, &bad).await, "{}", bad.token());
                    }
                }
                if let Some(cart) = good.part(CART) {
                    let bad = changed(cart, at, with);
                    if bad != *cart {
                        prop_assert!(lab.a.cart(&good.clone().with(CART, bad)).await.is_err());
                    }
                }
                prop_assert_eq!(lab.a.cart(&good).await.unwrap().value.lines.len(), 1);
                Ok(())
            })?;
        }
    }

    #[test]
    fn what_was_written_is_read_again(
        user in "[A-Za-z0-9._-]{1,64}",
        lines in prop::collection::vec("[A-Za-z0-9._-]{1,64}", 1..8),
    ) {
        let (runtime, labs) = labs();
        for lab in &labs {
            runtime.block_on(async {
                let mut client = Client::login(&*lab.a, &user).await;
                let mut expected: Vec<String> = Vec::new();
                for line in &lines {
                    client.change(&*lab.a, add(line)).await.unwrap();
                    if !expected.contains(line) {
                        expected.push(line.clone());
                    }
                }
                prop_assert_eq!(&lab.a.authenticate(&client.credential).await.unwrap().value.user, &user);
                let cart = lab.a.cart(&client.credential).await.unwrap().value;
                let ids: Vec<_> = cart.lines.into_iter().map(|line| line.id).collect();
                prop_assert_eq!(ids, expected);
                Ok(())
            })?;
        }
    }
}
