//! A node whose strategy misbehaves on purpose, so that tests can see whether the lab notices. It stands in the place of
//! `shop` and takes the same settings; `SABOTAGE` names the deed.
//!
//! It behaves in all other ways: a sabotage that breaks every request would be no proof of the checker.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use session::{
    About, Answer, Cart, Change, Credential, Error, Eviction, Host, KINDS, KeyInUse, Kind, Listed,
    LoggedOut, Session, StoreUse, Strategy, Throttle, Unfit, Values,
};

/// Every so many times the deed is done.
const EVERY: u64 = 5;

/// What is done wrong.
#[derive(Clone, Copy)]
enum Deed {
    /// A line is acknowledged, shown in that answer, and not kept.
    DropWrites,
    /// A logout is acknowledged, and the session lives on.
    UndoLogouts,
    /// A revocation is acknowledged, and all logins of the user live on.
    ForgetRevocations,
    /// A user is shown the cart of the user before.
    SwapUsers,
}

struct Saboteur {
    strategy: Arc<dyn Strategy>,
    deed: Deed,
    times: AtomicU64,
    /// Who asked for a cart last.
    last: Mutex<Option<Credential>>,
}

/// A row of the table, with something done wrong.
struct Sabotaged {
    kind: &'static dyn Kind,
    deed: Deed,
}

impl Kind for Sabotaged {
    fn about(&self) -> &'static About {
        self.kind.about()
    }

    fn check(&self, values: &Values) -> Result<(), Unfit> {
        self.kind.check(values)
    }

    fn build(&self, values: &Values, host: &Host) -> Result<Arc<dyn Strategy>, Unfit> {
        Ok(Arc::new(Saboteur {
            strategy: self.kind.build(values, host)?,
            deed: self.deed,
            times: AtomicU64::new(0),
            last: Mutex::new(None),
        }))
    }
}

fn main() -> ExitCode {
    let Some(deed) = deed() else {
        eprintln!(
            "saboteur: SABOTAGE must be drop-writes, undo-logouts, forget-revocations or swap-users"
        );
        return ExitCode::from(2);
    };
    let sabotaged = |kind: &&'static dyn Kind| -> &'static dyn Kind {
        Box::leak(Box::new(Sabotaged { kind: *kind, deed }))
    };
    let kinds: Vec<_> = KINDS.iter().map(sabotaged).collect();
    shop::run(&kinds)
}

fn deed() -> Option<Deed> {
    match std::env::var("SABOTAGE").ok()?.as_str() {
        "drop-writes" => Some(Deed::DropWrites),
        "undo-logouts" => Some(Deed::UndoLogouts),
        "forget-revocations" => Some(Deed::ForgetRevocations),
        "swap-users" => Some(Deed::SwapUsers),
        _ => None,
    }
}

impl Saboteur {
    fn is_time(&self) -> bool {
        self.times
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(EVERY)
    }
}

#[async_trait]
impl Strategy for Saboteur {
    fn about(&self) -> &'static About {
        self.strategy.about()
    }

    async fn login(
        &self,
        user: &str,
        presented: Option<&Credential>,
    ) -> Result<Answer<Session>, Error> {
        self.strategy.login(user, presented).await
    }

    async fn authenticate(&self, credential: &Credential) -> Result<Answer<Session>, Error> {
        self.strategy.authenticate(credential).await
    }

    async fn cart(&self, credential: &Credential) -> Result<Answer<Cart>, Error> {
        if matches!(self.deed, Deed::SwapUsers) {
            let other = self
                .last
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .replace(credential.clone());
            // Somebody who has logged out meanwhile has no cart to show.
            if let Some(other) = other.filter(|_| self.is_time())
                && let Ok(cart) = self.strategy.cart(&other).await
            {
                return Ok(cart);
            }
        }
        self.strategy.cart(credential).await
    }

    async fn change(&self, credential: &Credential, change: Change) -> Result<Answer<Cart>, Error> {
        let adds = matches!(change, Change::Add(_));
        if adds && matches!(self.deed, Deed::DropWrites) && self.is_time() {
            let mut cart = self.strategy.cart(credential).await?;
            cart.value.apply(change, usize::MAX)?;
            return Ok(cart);
        }
        self.strategy.change(credential, change).await
    }

    async fn refresh(&self, credential: &Credential) -> Result<Answer<Session>, Error> {
        self.strategy.refresh(credential).await
    }

    async fn logout(&self, credential: &Credential) -> Result<LoggedOut, Error> {
        if matches!(self.deed, Deed::UndoLogouts) {
            return Ok(LoggedOut::Dead);
        }
        self.strategy.logout(credential).await
    }

    async fn sessions(&self, credential: &Credential) -> Result<Answer<Vec<Listed>>, Error> {
        self.strategy.sessions(credential).await
    }

    async fn end(&self, credential: &Credential, id: &str) -> Result<Answer<()>, Error> {
        self.strategy.end(credential, id).await
    }

    async fn revoke(&self, user: &str) -> Result<u64, Error> {
        if matches!(self.deed, Deed::ForgetRevocations) {
            return Ok(1);
        }
        self.strategy.revoke(user).await
    }

    async fn ready(&self) -> Result<(), Error> {
        self.strategy.ready().await
    }

    fn throttle(&self) -> Option<&dyn Throttle> {
        self.strategy.throttle()
    }

    fn sessions_owned(&self) -> Option<u64> {
        self.strategy.sessions_owned()
    }

    fn eviction(&self) -> Option<Eviction> {
        self.strategy.eviction()
    }

    fn store_use(&self) -> Option<StoreUse> {
        self.strategy.store_use()
    }

    fn keys(&self) -> Vec<KeyInUse> {
        self.strategy.keys()
    }
}
